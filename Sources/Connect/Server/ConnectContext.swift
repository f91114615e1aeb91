package import HTTPTypes

/// What a handler knows of its call besides the message.
package struct ConnectContext: Sendable {
    /// `package.Service/Method`.
    package let method: String
    package let headers: HTTPFields
    /// When the caller gives up; the handler's task is cancelled then. Nil for a caller that waits.
    package let deadline: ContinuousClock.Instant?
}

/// A call that ended, for the log: no argument, no header.
package struct CallRecord: Sendable {
    package let method: String
    /// Nil for success.
    package let code: ConnectError.Code?
    package let duration: Duration
}
