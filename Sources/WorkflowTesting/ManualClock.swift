public import Foundation
import Synchronization
public import Workflow

/// A wall clock that moves only when it is told to.
public final class ManualClock: EngineClock {
    /// What happens to a durable sleep or the wait before a retry.
    public enum Sleeps: Sendable, Hashable {
        /// It lasts until somebody advances the clock.
        case wait
        /// It moves the clock to its end and returns at once. Deadlines of attempts never do.
        case pass
    }

    private struct Sleeper {
        let deadline: Date
        let continuation: CheckedContinuation<Void, any Error>
    }

    private struct State {
        var now: Date
        var sleepers: [Int: Sleeper] = [:]
        var cancelled: Set<Int> = []
        var next = 0
        var watchers: [(count: Int, continuation: CheckedContinuation<Void, Never>)] = []
    }

    private let sleeps: Sleeps
    private let state: Mutex<State>

    /// Makes a clock.
    ///
    /// - Parameters:
    ///   - start: where it stands at first; the beginning of 2001 unless told otherwise.
    ///   - sleeps: what happens to sleeps.
    public init(_ start: Date = Date(timeIntervalSinceReferenceDate: 0), sleeps: Sleeps = .wait) {
        self.sleeps = sleeps
        state = Mutex(State(now: start))
    }

    /// Where the clock stands.
    public func now() -> Date { state.withLock { $0.now } }

    /// Waits for the clock to be advanced, or advances it itself: see ``Sleeps``.
    public func sleep(until deadline: Date) async throws {
        try Task.checkCancellation()
        if sleeps == .pass {
            advance(to: deadline)
            return
        }
        try await wait(until: deadline)
    }

    /// Waits for the clock to be advanced.
    public func expire(at deadline: Date) async throws {
        try await wait(until: deadline)
    }

    /// How many sleeps and deadlines wait for the clock to move.
    public var waiting: Int { state.withLock { $0.sleepers.count } }

    /// Returns once at least `count` sleeps and deadlines wait.
    public func untilWaiting(_ count: Int) async {
        await withCheckedContinuation { continuation in
            let isThere = state.withLock { state in
                if state.sleepers.count >= count { return true }
                state.watchers.append((count, continuation))
                return false
            }
            if isThere { continuation.resume() }
        }
    }

    /// Moves the clock forward and wakes whatever is due.
    public func advance(by duration: Duration) {
        let (seconds, attoseconds) = duration.components
        advance(to: now().addingTimeInterval(Double(seconds) + Double(attoseconds) / 1e18))
    }

    /// Moves the clock forward to `date`, never back, and wakes whatever is due.
    public func advance(to date: Date) {
        let due = state.withLock { state in
            state.now = max(state.now, date)
            let due = state.sleepers.filter { $0.value.deadline <= state.now }
            for id in due.keys { state.sleepers[id] = nil }
            return due.values.sorted { $0.deadline < $1.deadline }
        }
        for sleeper in due { sleeper.continuation.resume() }
    }

    private func wait(until deadline: Date) async throws {
        let id = state.withLock { state in
            defer { state.next += 1 }
            return state.next
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                enter(id, Sleeper(deadline: deadline, continuation: continuation))
            }
        } onCancel: {
            let sleeper = state.withLock { state in
                let sleeper = state.sleepers.removeValue(forKey: id)
                if sleeper == nil { state.cancelled.insert(id) }
                return sleeper
            }
            sleeper?.continuation.resume(throwing: CancellationError())
        }
    }

    private func enter(_ id: Int, _ sleeper: Sleeper) {
        enum Outcome {
            case wait([CheckedContinuation<Void, Never>])
            case due
            case cancelled
        }
        let outcome = state.withLock { state -> Outcome in
            if state.cancelled.remove(id) != nil { return .cancelled }
            if sleeper.deadline <= state.now { return .due }
            state.sleepers[id] = sleeper
            let count = state.sleepers.count
            let ready = state.watchers.filter { $0.count <= count }
            state.watchers.removeAll { $0.count <= count }
            return .wait(ready.map(\.continuation))
        }
        switch outcome {
        case .wait(let watchers): for watcher in watchers { watcher.resume() }
        case .due: sleeper.continuation.resume()
        case .cancelled: sleeper.continuation.resume(throwing: CancellationError())
        }
    }
}
