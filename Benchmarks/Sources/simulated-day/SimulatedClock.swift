import Foundation
import Synchronization
import Workflow

/// A clock that stands still until whoever drives the day moves it on.
///
/// What sleeps is counted; deadlines of calls are not, as nothing happens when they do not come.
final class SimulatedClock: EngineClock {
    private struct Sleeper {
        let deadline: Date
        let isCounted: Bool
        let continuation: CheckedContinuation<Void, any Error>
    }

    private struct State {
        var now: Date
        var sleepers: [Int: Sleeper] = [:]
        var cancelled: Set<Int> = []
        var next = 0
        var counted = 0
    }

    private let state: Mutex<State>

    init(_ start: Date) {
        state = Mutex(State(now: start))
    }

    func now() -> Date { state.withLock { $0.now } }

    /// How many sleeps are under way.
    var sleeping: Int { state.withLock { $0.counted } }

    /// When the next of them is over.
    var nextEnd: Date? {
        state.withLock { state in state.sleepers.values.lazy.filter(\.isCounted).map(\.deadline).min() }
    }

    func sleep(until deadline: Date) async throws { try await wait(until: deadline, isCounted: true) }

    func sleep(for seconds: Double) async throws { try await sleep(until: now().addingTimeInterval(seconds)) }

    func expire(at deadline: Date) async throws { try await wait(until: deadline, isCounted: false) }

    /// Moves on to `date` and wakes whatever is due.
    func advance(to date: Date) {
        let due = state.withLock { state in
            state.now = max(state.now, date)
            let due = state.sleepers.filter { $0.value.deadline <= state.now }
            for (id, sleeper) in due {
                state.sleepers[id] = nil
                if sleeper.isCounted { state.counted -= 1 }
            }
            return due.values.sorted { $0.deadline < $1.deadline }
        }
        for sleeper in due { sleeper.continuation.resume() }
    }

    private func wait(until deadline: Date, isCounted: Bool) async throws {
        try Task.checkCancellation()
        let id = state.withLock { state in
            defer { state.next += 1 }
            return state.next
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                enter(id, Sleeper(deadline: deadline, isCounted: isCounted, continuation: continuation))
            }
        } onCancel: {
            let sleeper = state.withLock { state in
                let sleeper = state.sleepers.removeValue(forKey: id)
                if let sleeper { state.counted -= sleeper.isCounted ? 1 : 0 } else { state.cancelled.insert(id) }
                return sleeper
            }
            sleeper?.continuation.resume(throwing: CancellationError())
        }
    }

    private func enter(_ id: Int, _ sleeper: Sleeper) {
        let result = state.withLock { state -> Result<Void, any Error>? in
            if state.cancelled.remove(id) != nil { return .failure(CancellationError()) }
            if sleeper.deadline <= state.now { return .success(()) }
            state.sleepers[id] = sleeper
            if sleeper.isCounted { state.counted += 1 }
            return nil
        }
        if let result { sleeper.continuation.resume(with: result) }
    }
}
