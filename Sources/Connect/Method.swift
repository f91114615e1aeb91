package import SwiftProtobuf

/// One call of a service: its path, the types that cross the wire, and what may be done when its outcome is unknown.
package struct Method<Request: Message, Response: Message>: Sendable {
    /// `package.Service/Name`, without the leading slash.
    package let path: String
    package let kind: MethodKind
    package let repeatability: Repeatability

    package init(service: String, name: String, kind: MethodKind, repeatability: Repeatability) {
        path = "\(service)/\(name)"
        self.kind = kind
        self.repeatability = repeatability
    }
}

/// Which side sends more than one message.
package enum MethodKind: Hashable, Sendable {
    case unary
    case serverStream
    case clientStream
}

/// Whether a call whose outcome nobody knows may simply be made again.
package enum Repeatability: Hashable, Sendable {
    /// It only reads.
    case safe
    /// Twice has the same effect as once.
    case idempotent
    /// Each call has an effect of its own: it is repeated only when the first certainly had none.
    case once
}
