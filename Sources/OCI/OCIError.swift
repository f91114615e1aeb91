/// What went wrong with an image, a registry or a layout, in words that a person can act on.
///
/// `message` says what failed, why, and what to do next; it never contains a secret (no credentials, no query strings
/// of signed URLs).
package struct OCIError: Error, Sendable, CustomStringConvertible {
    /// The kind of failure, for programs to branch on.
    package enum Code: String, Sendable, Hashable, CaseIterable {
        /// The text is no image reference, or names a transport that is not supported.
        case invalidReference
        /// The registry or layout has no such repository, tag, manifest or blob.
        case notFound
        /// Credentials are missing, or were refused.
        case unauthorized
        /// The registry knows who asks and says no.
        case denied
        /// No connection: refused, name not found, TLS failed, or the connection broke too often.
        case unreachable
        /// A wait reached its deadline.
        case timedOut
        /// The registry's rate limit (HTTP 429).
        case tooManyRequests
        /// The registry failed (HTTP 5xx).
        case serverError
        /// The registry answered something that the distribution specification does not allow.
        case invalidResponse
        /// Bytes do not have the digest that names them.
        case digestMismatch
        /// Bytes are more or fewer than their descriptor says.
        case sizeMismatch
        /// A document or a blob is larger than the limit.
        case tooLarge
        /// A kind of manifest, config or layer that cannot be a container image here.
        case unsupportedMediaType
        /// A manifest, index or config that contradicts its specification.
        case invalidManifest
        /// The image exists, but not for the platform asked for.
        case noMatchingPlatform
        /// A directory that is no OCI layout, or a broken one.
        case invalidLayout
        /// An archive that is truncated or corrupt, or none at all.
        case invalidArchive
        /// A credentials file, a certificate file or an option that cannot be used.
        case invalidConfiguration
        /// A file could not be read.
        case ioFailure
        /// The caller's task was cancelled, or the blob was closed.
        case cancelled
    }

    package let code: Code
    package let message: String
    package let cause: (any Error)?
    /// Whether the same call may succeed a little later with nothing changed here.
    package let isRetryable: Bool
    /// The limit that a document is beyond, where it is one that a caller can raise.
    package internal(set) var exceeded: DocumentLimits.Name?

    /// - Parameter retryable: when nil, decided by the code.
    package init(_ code: Code, _ message: String, cause: (any Error)? = nil, retryable: Bool? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
        self.isRetryable = retryable ?? Self.isRetryableByNature(code)
    }

    package var description: String { message }

    private static func isRetryableByNature(_ code: Code) -> Bool {
        switch code {
        case .unreachable, .timedOut, .tooManyRequests, .serverError: true
        default: false
        }
    }
}
