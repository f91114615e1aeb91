import Synchronization

/// Lets tasks wait until something was noted, or some time has passed.
final class Bell: Sendable {
    private struct State {
        /// Rung while nobody waited.
        var isPending = false
        var waiters: [Int: CheckedContinuation<Void, Never>] = [:]
        var next = 0
        /// Waiters whose waiting ended before it began.
        var early: Set<Int> = []
    }

    private let state = Mutex(State())

    func ring() {
        let waiters = state.withLock { state in
            defer { state.waiters = [:] }
            if state.waiters.isEmpty { state.isPending = true }
            return Array(state.waiters.values)
        }
        for waiter in waiters { waiter.resume() }
    }

    /// Returns when the bell rings, or has rung since somebody last waited; otherwise after `limit`.
    func wait(atMost limit: Duration) async throws {
        let ticket = state.withLock { state in
            state.next += 1
            return state.next
        }
        let timer = Task { [weak self] in
            do { try await Task.sleep(for: limit, clock: .continuous) } catch { return }
            self?.end(ticket)
        }
        defer { timer.cancel() }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if state.early.remove(ticket) != nil || state.isPending {
                        state.isPending = false
                        return true
                    }
                    state.waiters[ticket] = continuation
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            end(ticket)
        }
        _ = state.withLock { $0.early.remove(ticket) }
        try Task.checkCancellation()
    }

    private func end(_ ticket: Int) {
        let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
            if let waiter = state.waiters.removeValue(forKey: ticket) { return waiter }
            state.early.insert(ticket)
            return nil
        }
        waiter?.resume()
    }
}
