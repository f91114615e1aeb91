internal import Synchronization

/// Runs `operation` for at most `limit`; then cancels it and throws `timedOut`.
///
/// Returns only when the operation has ended, so it must heed cancellation, as everything in the HTTP client does.
func withDeadline<Value: Sendable>(
    _ limit: Duration, _ what: String, operation: @escaping @Sendable () async throws(RequestFailure) -> Value
) async throws(RequestFailure) -> Value {
    try await race(operation) {
        guard await sleep(limit) else { return nil }
        return RequestFailure(.timedOut, "\(what) was not complete after \(limit.shown)")
    }
}

/// Runs `operation` and cancels it when it waits for the network for longer than `limit` at a stretch.
func withStallLimit<Value: Sendable>(
    _ limit: Duration, _ what: String,
    operation: @escaping @Sendable (NetworkWait) async throws(RequestFailure) -> Value
) async throws(RequestFailure) -> Value {
    let wait = NetworkWait()
    return try await race { () async throws(RequestFailure) -> Value in
        try await operation(wait)
    } against: {
        while await sleep(max(limit / 8, .milliseconds(10))) {
            if wait.length > limit {
                return RequestFailure(.timedOut, "\(what) stalled: nothing came for \(limit.shown)")
            }
        }
        return nil
    }
}

/// Marks when a transfer waits for the network, and not for its reader.
final class NetworkWait: Sendable {
    private let since = Mutex<ContinuousClock.Instant?>(nil)

    func begin() { since.withLock { $0 = .now } }
    func end() { since.withLock { $0 = nil } }

    var length: Duration { since.withLock { $0.map { ContinuousClock.now - $0 } ?? .zero } }
}

/// Sleeps; false when the task was cancelled before.
func sleep(_ duration: Duration) async -> Bool {
    do {
        try await Task.sleep(for: duration)
        return true
    } catch {
        return false
    }
}

/// The first of the two decides; the other is cancelled and waited for. A watch that returns nil decides nothing.
private func race<Value: Sendable>(
    _ operation: @escaping @Sendable () async throws(RequestFailure) -> Value,
    against watch: @escaping @Sendable () async -> RequestFailure?
) async throws(RequestFailure) -> Value {
    let result = await withTaskGroup(of: Result<Value, RequestFailure>?.self) { group in
        group.addTask {
            do throws(RequestFailure) {
                return .success(try await operation())
            } catch {
                return .failure(error)
            }
        }
        group.addTask {
            await watch().map { .failure($0) }
        }
        var decision: Result<Value, RequestFailure>?
        while decision == nil, let next = await group.next() {
            decision = next
        }
        group.cancelAll()
        return decision
    }
    guard let result else { throw RequestFailure(.cancelled, "the request was cancelled") }
    return try result.get()
}

extension Duration {
    /// In seconds, for messages.
    var shown: String {
        let (seconds, attoseconds) = components
        return seconds < 10 ? "\(seconds).\(attoseconds / 100_000_000_000_000_000) s" : "\(seconds) s"
    }
}
