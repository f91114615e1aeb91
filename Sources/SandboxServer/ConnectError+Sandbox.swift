import Connect
import Logging
import Sandbox

extension ConnectError {
    /// A provider's error as the API tells it.
    init(_ error: SandboxError) {
        switch error.code {
        case .notFound: self.init(.notFound, error.message)
        case .ended: self.init(.failedPrecondition, error.message)
        case .alreadyExists: self.init(.alreadyExists, error.message)
        case .unavailable: self.init(.unavailable, error.message)
        // Not `permission_denied`, which tells a caller that its token is at fault.
        case .notPermitted, .missingTool, .commandFailed: self.init(.failedPrecondition, error.message)
        case .invalidArgument: self.init(.invalidArgument, error.message)
        case .unimplemented: self.init(.unimplemented, error.message)
        case .commandTimedOut, .deadlineExceeded: self.init(.deadlineExceeded, error.message)
        case .outputTooLarge, .outOfSpace: self.init(.resourceExhausted, error.message)
        case .commandLost: self.init(.aborted, error.message)
        default: self.init(.internal, "the provider of the sandboxes failed; the server's log says how")
        }
    }

    static func invalid(_ field: String, _ why: String) -> ConnectError {
        ConnectError(.invalidArgument, "\(field): \(why)")
    }
}

extension SandboxService {
    /// Runs a call; whatever it throws becomes an answer that tells no internals, which go to the log.
    func answering<Answer>(_ call: () async throws -> Answer) async throws -> Answer {
        do {
            return try await call()
        } catch let error as ConnectError {
            throw error
        } catch is CancellationError {
            throw ConnectError(.canceled, "the call was cancelled")
        } catch let error as SandboxError {
            let answer = ConnectError(error)
            if answer.code == .internal { logger.error("a call failed: \(error)") }
            throw answer
        } catch {
            logger.error("a call failed: \(error)")
            throw ConnectError(.internal, "the server failed; its log says how")
        }
    }
}
