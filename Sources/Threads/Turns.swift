import Synchronization

/// At most so many tasks at once. So many more stand in line, first come first served; the rest is refused.
///
/// There is no deadline here: the line is finite, whoever is inside has a deadline of its own, and whoever waits goes
/// when its task is cancelled.
package final class Turns: Sendable {
    /// The line is full.
    package struct Full: Error {}

    private struct State {
        var inside = 0
        var nextTicket: UInt64 = 0
        /// In the order of their tickets.
        var line: [(ticket: UInt64, continuation: CheckedContinuation<Bool, Never>)] = []
    }

    private let limit: Int
    private let lineLimit: Int
    private let state = Mutex(State())

    package init(atOnce limit: Int, line: Int) {
        self.limit = limit
        lineLimit = line
    }

    /// How many stand in line now.
    package var waiting: Int { state.withLock { $0.line.count } }

    /// - Throws: ``Full`` when the line is full, `CancellationError` when the task was cancelled before its turn came, and
    ///   what `body` throws.
    package func run<Result>(_ body: () async throws -> Result) async throws -> Result {
        try await enter()
        defer { leave() }
        return try await body()
    }

    private func enter() async throws {
        let ticket = state.withLock { state in
            state.nextTicket += 1
            return state.nextTicket
        }
        let isInside = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer = state.withLock { state -> Bool? in
                    if Task.isCancelled { return false }
                    if state.inside < limit {
                        state.inside += 1
                        return true
                    }
                    guard state.line.count < lineLimit else { return false }
                    state.line.append((ticket, continuation))
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            let waiting = state.withLock { state in
                state.line.firstIndex { $0.ticket == ticket }.map { state.line.remove(at: $0).continuation }
            }
            waiting?.resume(returning: false)
        }
        if isInside { return }
        try Task.checkCancellation()
        throw Full()
    }

    private func leave() {
        // The place goes to the first in line without being free in between.
        let next = state.withLock { state -> CheckedContinuation<Bool, Never>? in
            if !state.line.isEmpty { return state.line.removeFirst().continuation }
            state.inside -= 1
            return nil
        }
        next?.resume(returning: true)
    }
}
