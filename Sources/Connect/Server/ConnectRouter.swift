package import HTTPTypes
package import SwiftProtobuf

/// Which handler answers which call. Built once, then only read.
///
/// A handler runs in a task of its own, which is cancelled when the caller's deadline passes, when the caller goes away, and
/// when the server stops; it must heed that. What it throws as `ConnectError` goes to the caller; anything else becomes
/// `internal` without a word of it.
package struct ConnectRouter: Sendable {
    /// Lets a call in or throws, before anything of its body is read.
    package typealias Authenticator = @Sendable (HTTPFields) async throws -> Void

    package var authenticator: Authenticator?
    /// Told of every call that ended.
    package var onCall: (@Sendable (CallRecord) -> Void)?
    /// The most bytes of one message that comes, before and after decompression: the 4 MiB of the API's files, and room for
    /// what is around them.
    package var messageLimit = (4 << 20) + (64 << 10)
    /// No handler runs longer, whatever the caller allows.
    package var longestCall: Duration = .seconds(24 * 3600)
    private(set) var routes: [String: Route] = [:]
    private(set) var pages: [String: @Sendable () async -> Page] = [:]

    package init() {}

    package mutating func unary<Q: Message, A: Message>(
        _ method: Method<Q, A>, handler: @escaping @Sendable (Q, ConnectContext) async throws -> A
    ) {
        routes[method.path] = .unary { bytes, codec, context in
            try codec.encode(try await handler(try codec.decode(bytes), context))
        }
    }

    /// The handler sends into the sink as it likes; the stream ends when it returns or throws.
    package mutating func serverStream<Q: Message, A: Message>(
        _ method: Method<Q, A>,
        handler: @escaping @Sendable (Q, ConnectContext, ConnectServerSink<A>) async throws -> Void
    ) {
        routes[method.path] = .serverStream { bytes, codec, context, outlet in
            try await handler(try codec.decode(bytes), context, ConnectServerSink(outlet))
        }
    }

    /// The handler takes from the stream as it likes; what it leaves is not read.
    package mutating func clientStream<Q: Message, A: Message>(
        _ method: Method<Q, A>,
        handler: @escaping @Sendable (ConnectServerStream<Q>, ConnectContext) async throws -> A
    ) {
        routes[method.path] = .clientStream { inlet, codec, context in
            try codec.encode(try await handler(ConnectServerStream(inlet, codec), context))
        }
    }

    /// A fixed text for GET, with no authentication: what a load balancer asks for. `path` begins with a slash.
    package mutating func page(_ path: String, _ text: String) { pages[path] = { Page(text) } }

    /// The same, made for each request. It must be made quickly, as nothing limits how long that takes.
    package mutating func page(_ path: String, _ make: @escaping @Sendable () async -> Page) { pages[path] = make }
}

/// What GET is answered with.
package struct Page: Sendable {
    package var text: String
    package var mediaType: String
    /// Whether it is an answer with status 200, or one with 503.
    package var isAvailable: Bool

    package init(_ text: String, mediaType: String = "text/plain", isAvailable: Bool = true) {
        self.text = text
        self.mediaType = mediaType
        self.isAvailable = isAvailable
    }
}

/// A handler without its types.
enum Route: Sendable {
    case unary(@Sendable ([UInt8], Codec, ConnectContext) async throws -> [UInt8])
    case serverStream(@Sendable ([UInt8], Codec, ConnectContext, Outlet) async throws -> Void)
    case clientStream(@Sendable (Inlet, Codec, ConnectContext) async throws -> [UInt8])

    var kind: MethodKind {
        switch self {
        case .unary: .unary
        case .serverStream: .serverStream
        case .clientStream: .clientStream
        }
    }
}

/// Where a handler's messages for the caller go. Many tasks may send; each waits until the connection has taken its message.
package struct ConnectServerSink<A: Message>: Sendable {
    private let outlet: Outlet

    init(_ outlet: Outlet) { self.outlet = outlet }

    /// - Throws: `canceled` when the caller has gone.
    package func send(_ message: A) async throws(ConnectError) {
        try await outlet.send(message)
    }
}

/// The messages of a caller. For the handler's task.
package final class ConnectServerStream<Q: Message> {
    private let inlet: Inlet
    private let codec: Codec

    init(_ inlet: Inlet, _ codec: Codec) {
        self.inlet = inlet
        self.codec = codec
    }

    /// The next message; nil at the proper end of the request.
    package func next() async throws -> Q? {
        guard let bytes = try await inlet.next() else { return nil }
        return try codec.decode(bytes)
    }
}
