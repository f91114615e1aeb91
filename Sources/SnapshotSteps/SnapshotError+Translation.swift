import Artifacts
import Files
import Glibc
import HelperInterface
import OCI
import Sandbox
import Workflow

extension SnapshotError {
    /// The error of a module below, in this module's terms. The engine's own errors and cancellation pass as they are.
    package static func translating(_ error: any Error) -> any Error {
        switch error {
        case let error as OCIError: SnapshotError(error)
        case let error as ArtifactError: SnapshotError(error)
        case let error as SandboxError: translating(error)
        case let error as FileError:
            // Another process is at the same file.
            SnapshotError(
                error.isOutOfSpace ? .diskFull : .failed, error.description, retryable: error.errno == EWOULDBLOCK)
        default: error
        }
    }

    private static func translating(_ error: SandboxError) -> any Error {
        switch error.code {
        case .notFound, .ended:
            // The engine asks the resource itself before it believes this.
            ResourceLost(reason: error.description)
        case .outOfSpace:
            SnapshotError(.diskFull, error.description)
        case .invalidArgument:
            SnapshotError(.usage, error.description)
        case .credentials:
            SnapshotError(.apiCredentials, error.description)
        case .incompatible:
            // An address that is wrong from the start is refused before anything starts; a page of maintenance passes.
            SnapshotError(.incompatible, error.description, retryable: true)
        case .unavailable, .didNotStart, .alreadyExists, .commandTimedOut, .deadlineExceeded:
            SnapshotError(.unavailable, error.description, retryable: error.isRetryable)
        case .missingTool:
            SnapshotError(.missingTool, error.description)
        case .notPermitted:
            SnapshotError(.notPermitted, error.description)
        case .unimplemented:
            SnapshotError(.notSupported, error.description)
        case .commandFailed, .commandLost, .corrupt, .system:
            SnapshotError(.sandboxFailed, error.description, retryable: error.isRetryable)
        case .outputTooLarge:
            SnapshotError(.failed, error.description)
        }
    }

    private init(_ error: ArtifactError) {
        let code: SnapshotError.Code =
            switch error.code {
            case .notASnapshot, .invalidArtifact, .tooLarge: .badImage
            case .damaged, .changed, .noResult: .snapshotDamaged
            case .noMatchingPlatform: .imageNotFound
            case .usage: .usage
            case .resources: .failed
            }
        self.init(code, error.message)
    }

    init(_ error: OCIError) {
        let code: Code =
            switch error.code {
            case .invalidReference, .invalidConfiguration: .usage
            case .notFound, .noMatchingPlatform, .invalidLayout: .imageNotFound
            case .unauthorized, .denied: .credentials
            case .unreachable, .timedOut, .tooManyRequests, .serverError: .unavailable
            case .invalidResponse, .digestMismatch, .sizeMismatch, .tooLarge, .unsupportedMediaType, .invalidManifest,
                .invalidArchive:
                .badImage
            case .ioFailure, .cancelled: .failed
            }
        self.init(code, error.message, retryable: error.isRetryable)
    }

    /// What the helper said when it gave up.
    init(_ failure: HelperFailure, exitCode: Int32) {
        let code: Code =
            switch (failure.code, ExitStatus(rawValue: exitCode)) {
            case ("disk-full", _): .diskFull
            case ("size-too-small", _): .sizeTooSmall
            case (_, .badImage): .badImage
            case (_, .notFound): .imageNotFound
            case (_, .credentials): .credentials
            case (_, .unavailable): .unavailable
            case (_, .usage): .usage
            default: .failed
            }
        self.init(code, failure.message, retryable: failure.isRetryable)
    }
}

/// Runs `body` and gives its errors in this module's terms.
func translatingErrors<Value>(_ body: () async throws -> Value) async throws -> Value {
    do {
        return try await body()
    } catch {
        throw SnapshotError.translating(error)
    }
}
