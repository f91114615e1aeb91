import Connect

/// Why a sandbox, or something in it, did not do what was asked.
package struct SandboxError: Error, Sendable, CustomStringConvertible {
    package enum Code: String, Hashable, Sendable, CaseIterable {
        /// The provider knows no such sandbox, or the sandbox no such file.
        case notFound
        /// The sandbox is over; it cannot be revived.
        case ended
        /// A sandbox of that name is there already: adopt it.
        case alreadyExists
        /// Not now: try again.
        case unavailable
        /// It was started, and ended before it was ready.
        case didNotStart
        case notPermitted
        /// The provider refuses the token or the organisation, or forbids them what was asked: somebody has to give
        /// others.
        case credentials
        /// What answers is no such provider, or another version of it than this one can work with.
        case incompatible
        /// A program is missing, on this host or in the sandbox.
        case missingTool
        case invalidArgument
        /// The provider has no such capability.
        case unimplemented
        case commandTimedOut
        case outputTooLarge
        /// A command that had to succeed did not.
        case commandFailed
        /// The caller's own deadline passed; what was awaited goes on.
        case deadlineExceeded
        /// The durable command's process is gone without an exit file: run it again.
        case commandLost
        /// No space left, where the sandbox or its records are.
        case outOfSpace
        /// A record is not what was written.
        case corrupt
        /// A system call failed in a way nobody foresaw.
        case system
    }

    package var code: Code
    /// What failed, why, and what to do next.
    package var message: String
    package var cause: (any Error)?
    /// Whether the call may have had its effect all the same: look before it is made again.
    package var isInDoubt: Bool

    package init(_ code: Code, _ message: String, cause: (any Error)? = nil, isInDoubt: Bool = false) {
        self.code = code
        self.message = message
        self.cause = cause
        self.isInDoubt = isInDoubt
    }

    /// Whether the same call may succeed later without anybody changing anything.
    package var isRetryable: Bool {
        switch code {
        case .unavailable, .didNotStart, .commandTimedOut, .deadlineExceeded: true
        default: false
        }
    }

    package var description: String {
        // An API's own words are in the message already.
        guard let cause, !(cause is ConnectError) else { return message }
        return "\(message) (\(cause))"
    }
}
