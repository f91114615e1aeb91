internal import NIOCore
internal import Synchronization

/// One handler at work: cancelled when its time is over, when its caller has gone, or when the server stops.
final class Supervision<Value: Sendable>: Sendable {
    private enum Reason {
        case timedOut, gone, stopped
    }

    private let reason = Mutex<Reason?>(nil)
    private let task: Task<Value, any Error>
    private let presence: ClientPresence
    private let timer: Scheduled<Void>
    private let failed: @Sendable (any Error) -> Void

    /// - Parameter failed: told of errors that the caller must not see.
    init(
        on loop: any EventLoop, presence: ClientPresence, limit: Duration,
        failed: @escaping @Sendable (any Error) -> Void,
        _ operation: @escaping @Sendable () async throws -> Value
    ) {
        let task = Task { try await operation() }
        self.task = task
        self.presence = presence
        self.failed = failed
        timer = loop.scheduleTask(in: TimeAmount(limit)) {}
        timer.futureResult.whenSuccess { self.cancel(.timedOut) }
        presence.whenGone { self.cancel(.gone) }
    }

    /// The server stops.
    func stop() { cancel(.stopped) }

    /// The caller takes nothing more.
    func leave() { cancel(.gone) }

    private func cancel(_ why: Reason) {
        reason.withLock { $0 = $0 ?? why }
        task.cancel()
    }

    /// Waits for the handler's end, which comes soon after it was cancelled. To be called once.
    func result() async -> Result<Value, ConnectError> {
        let result = await withTaskCancellationHandler {
            await task.result
        } onCancel: {
            stop()
        }
        timer.cancel()
        presence.whenGone(nil)
        switch result {
        case .success(let value): return .success(value)
        case .failure(let error): return .failure(shown(error))
        }
    }

    private func shown(_ error: any Error) -> ConnectError {
        switch reason.withLock({ $0 }) {
        case .timedOut: return ConnectError(.deadlineExceeded, "the call took longer than its deadline")
        case .gone: return ConnectError(.canceled, "the caller has gone")
        case .stopped: return ConnectError(.unavailable, "the server stops")
        case nil: break
        }
        if let error = error as? ConnectError { return error }
        failed(error)
        return .unexpected
    }
}

extension ConnectError {
    /// What a caller learns of an error that is none of its business.
    static var unexpected: ConnectError { ConnectError(.internal, "the server failed; its log says more") }
}
