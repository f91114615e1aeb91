import Logging
import Sandbox

/// Keeps the sandbox's time to live from running out while `body` works: every third of it, with jitter.
///
/// A heartbeat that fails is only noted: the steps find out for themselves what became of the sandbox.
func keepingAlive<Value: Sendable>(
    _ sandbox: SandboxHandle, for request: SnapshotRequest, environment: SnapshotEnvironment,
    _ body: () async throws -> Value
) async throws -> Value {
    let timeToLive = Duration.seconds(request.timeToLive)
    let provider = environment.provider
    let logger = environment.logger
    let heartbeat = Task {
        while !Task.isCancelled {
            do {
                try await provider.setTimeToLive(timeToLive, of: sandbox.id)
            } catch {
                logger.debug("the time to live of sandbox \(sandbox.id) was not reset: \(error)")
            }
            try await Task.sleep(for: timeToLive / 3 * Double.random(in: 0.8...1.0))
        }
    }
    defer { heartbeat.cancel() }
    return try await body()
}
