/// How a call failed: a code of the Connect protocol, a message for people, and what the server added.
///
/// Neither the message nor the description ever holds a header of the request, so no token either.
package struct ConnectError: Error, Sendable, CustomStringConvertible {
    /// The protocol's codes, by their names on the wire.
    package enum Code: String, Hashable, Sendable, CaseIterable {
        case canceled
        case unknown
        case invalidArgument = "invalid_argument"
        case deadlineExceeded = "deadline_exceeded"
        case notFound = "not_found"
        case alreadyExists = "already_exists"
        case permissionDenied = "permission_denied"
        case resourceExhausted = "resource_exhausted"
        case failedPrecondition = "failed_precondition"
        case aborted
        case outOfRange = "out_of_range"
        case unimplemented
        case `internal`
        case unavailable
        case dataLoss = "data_loss"
        case unauthenticated
    }

    /// A message that the server attached, still encoded.
    package struct Detail: Hashable, Sendable {
        /// The full name of the message's type, such as `depot.sandbox.v1.FileSystemErrorDetail`.
        package var type: String
        package var value: [UInt8]

        package init(type: String, value: [UInt8]) {
            self.type = type
            self.value = value
        }
    }

    package var code: Code
    /// What failed and why; may come from the server, so it is shown and never interpreted.
    package var message: String
    package var details: [Detail]
    /// How long the server asked to wait before another attempt.
    package var retryAfter: Duration?
    /// Whether the call may have had its effect all the same: the request, or a part of it, had left.
    package var isAmbiguous: Bool
    /// Whether the server's certificate is not trusted: the CA that signed it has to be named.
    package var isUntrusted = false
    /// Whether the answer was not one of the protocol: a page, another service, an old version, a proxy.
    package var isNotConnect: Bool
    /// The status of the HTTP answer that was this error; nil where there was none, or where it was a stream's end.
    package var httpStatus: Int?

    package init(
        _ code: Code, _ message: String, details: [Detail] = [], retryAfter: Duration? = nil,
        isAmbiguous: Bool = false, isNotConnect: Bool = false
    ) {
        self.code = code
        self.message = message
        self.details = details
        self.retryAfter = retryAfter
        self.isAmbiguous = isAmbiguous
        self.isNotConnect = isNotConnect
    }

    package var description: String { message.isEmpty ? code.rawValue : "\(code.rawValue): \(message)" }
}
