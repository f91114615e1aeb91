package import HelperInterface
import Workflow

/// Why a snapshot could not be made, in words a person can act on.
package struct SnapshotError: Error, Sendable, Codable, CustomStringConvertible, RetryClassifying {
    package enum Code: String, Sendable, Codable, CaseIterable {
        /// The state directory cannot be made, read or written.
        case stateDirectory
        /// The catalog was written by a newer version.
        case catalogNewerThanProgram
        /// The catalog's database failed.
        case catalog
        /// What the helper made is not what it says it made.
        case snapshotDamaged
        /// The helper is missing beside snapwf, or does not start in the sandbox.
        case helper
        /// The helper was killed again and again.
        case helperDied
        /// The image, or its data, cannot be used.
        case badImage
        /// The registry has no such image or tag.
        case imageNotFound
        /// No run has the id that was asked for.
        case runNotFound
        /// The run has to end before this can be done.
        case runUnfinished
        /// A queue's workers execute the run.
        case runQueued
        /// The catalog has no such snapshot, or not its file.
        case snapshotNotFound
        /// A run needs a snapshot that is on another machine only. The run stays as it is until it is resumed there.
        case elsewhere
        /// A snapshot is not removed: somebody works with it, or gave it a name.
        case snapshotInUse
        /// Credentials are missing or wrong.
        case credentials
        /// The Sandbox API takes the token no more. The run stays as it is until there is one that it takes.
        case apiCredentials
        /// Something that should answer does not: registry, provider.
        case unavailable
        /// What answers at the API's address is no Sandbox API.
        case incompatible
        /// A program that sandboxes need is not installed.
        case missingTool
        /// The kernel or the provider does not let this user do what a sandbox needs.
        case notPermitted
        /// The provider cannot do what was asked.
        case notSupported
        /// A sandbox, or a command in it, failed in a way nobody foresaw.
        case sandboxFailed
        /// No room.
        case diskFull
        /// `--size` is less than the content needs.
        case sizeTooSmall
        /// What was asked for is not possible with this provider, or not at all.
        case usage
        /// Everything else.
        case failed
    }

    package let code: Code
    package let message: String
    package let isRetryable: Bool

    package init(_ code: Code, _ message: String, retryable: Bool = false) {
        self.code = code
        self.message = message
        self.isRetryable = retryable
    }

    package var description: String { message }

    package var isBlocked: Bool { [.apiCredentials, .elsewhere].contains(code) }

    /// The exit status that tells a program the same.
    package var exitStatus: ExitStatus {
        switch code {
        case .badImage, .sizeTooSmall: .badImage
        case .imageNotFound, .runNotFound, .snapshotNotFound, .elsewhere: .notFound
        case .credentials, .apiCredentials: .credentials
        case .unavailable, .incompatible, .missingTool, .notPermitted, .notSupported, .sandboxFailed: .unavailable
        case .usage: .usage
        case .stateDirectory, .catalogNewerThanProgram, .catalog, .snapshotDamaged, .snapshotInUse, .runUnfinished,
            .runQueued,
            .helper, .helperDied, .diskFull, .failed:
            .failed
        }
    }
}
