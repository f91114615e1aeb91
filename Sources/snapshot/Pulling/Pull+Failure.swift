import Artifacts
import EXT4
import Files
import Glibc
import HelperInterface
import OCI
import RootFS

extension HelperFailure {
    /// What a failed pull says, and the exit status that says the same to a program.
    static func describing(_ error: any Error, output: String) -> (failure: HelperFailure, status: ExitStatus) {
        switch error {
        case let error as OCIError:
            // Room is missing where an archive from a pipe is kept: beside the output.
            if let cause = error.cause as? FileError, cause.isOutOfSpace {
                return describing(errno: cause.errno, message: error.message, output: output)
            }
            let message = error.message + advice(error.exceeded?.flag)
            return (
                HelperFailure(code: error.code.rawValue, message: message, isRetryable: error.isRetryable),
                ExitStatus(error.code)
            )
        case let error as ArtifactError:
            return (
                HelperFailure(code: error.code.rawValue, message: error.message, isRetryable: false), error.exitStatus
            )
        case let error as RootFSError:
            // What a layer's source or the image's writer threw comes wrapped, and says best itself what is wrong.
            if let cause = error.cause as? OCIError { return describing(cause, output: output) }
            if let cause = error.cause as? EXT4Error { return describing(cause, output: output) }
            return (
                HelperFailure(
                    code: "\(error.code)", message: error.description + advice(error.exceeded?.flag),
                    isRetryable: false),
                error.code == .output ? .failed : .badImage
            )
        case let error as EXT4Error:
            return describing(error, output: output)
        case let error as ResultNotTold:
            return (
                HelperFailure(
                    code: "output",
                    message: "\(error.output) is done and whole, but the result was not told: \(error.cause)",
                    isRetryable: false), .failed
            )
        case let error as FileError:
            return describing(errno: error.errno, message: error.description, output: output)
        default:
            return (HelperFailure(code: "failed", message: "\(error)", isRetryable: false), .failed)
        }
    }

    private static func advice(_ flag: String?) -> String {
        flag.map { "; if the image is to be trusted, raise it with \($0)" } ?? ""
    }

    /// Whether a conversion failed in a way in which it fails on bytes that are not those of the image.
    static func mayComeFromDamagedInput(_ error: any Error) -> Bool {
        switch error {
        case let error as OCIError: error.code == .digestMismatch || error.code == .sizeMismatch
        case let error as RootFSError:
            switch error.code {
            case .source: error.cause.map { mayComeFromDamagedInput($0) } ?? false
            case .compression, .archive, .name, .link, .limit, .digest, .unsupported: true
            case .output: false
            }
        default: false
        }
    }

    private static func describing(_ error: EXT4Error, output: String) -> (HelperFailure, ExitStatus) {
        switch error.code {
        case .sizeTooSmall(let needed):
            return (
                HelperFailure(
                    code: "size-too-small",
                    message: "the image does not fit: it needs --size \(needed) or more (\(byteCountText(needed)))",
                    isRetryable: false), .badImage
            )
        case .io:
            return describing(errno: error.errno ?? EIO, message: error.description, output: output)
        default:
            return (HelperFailure(code: "ext4", message: error.description, isRetryable: false), .badImage)
        }
    }

    private static func describing(errno: Int32, message: String, output: String) -> (HelperFailure, ExitStatus) {
        guard errno == ENOSPC || errno == EDQUOT else {
            return (HelperFailure(code: "io", message: message, isRetryable: false), .failed)
        }
        return (
            HelperFailure(
                code: "disk-full",
                message: """
                    the disk is full where \(output) is written. Make room there, give the sandbox more with --disk, \
                    or keep snapwf's state on another disk: SNAPWF_HOME=/path
                    """,
                isRetryable: false), .failed
        )
    }
}

extension ExitStatus {
    fileprivate init(_ code: OCIError.Code) {
        switch code {
        case .invalidReference, .invalidConfiguration: self = .usage
        case .notFound, .noMatchingPlatform, .invalidLayout: self = .notFound
        case .unauthorized, .denied: self = .credentials
        case .unreachable, .timedOut, .tooManyRequests, .serverError: self = .unavailable
        case .invalidResponse, .digestMismatch, .sizeMismatch, .tooLarge, .unsupportedMediaType, .invalidManifest,
            .invalidArchive:
            self = .badImage
        case .ioFailure, .cancelled: self = .failed
        }
    }
}
