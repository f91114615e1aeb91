/// How a client speaks: where to, in which form, for how long, and as whom.
package struct ConnectClientConfiguration: Sendable {
    /// What the server is told with each request, read when it is used, so that a token may change.
    package typealias Headers = @Sendable () async throws(ConnectError) -> [(name: String, value: String)]
    /// Called at the boundaries of each request. What it throws ends the call and is not retried.
    package typealias Observer = @Sendable (RequestEvent) async throws(ConnectError) -> Void

    package var address: ServerAddress
    package var codec: Codec = .proto
    /// Whether requests of a kilobyte and more are sent in gzip.
    package var compressesRequests = false
    /// Whether the server is told that it may compress. On the same machine that only costs.
    package var acceptsCompression = true
    /// Values of these headers are kept out of every error.
    package var headers: Headers
    /// A file of PEM certificates that are trusted besides the system's.
    package var caFile: String?
    /// Where HTTP_PROXY, HTTPS_PROXY and NO_PROXY are looked up, in either case; nil for no proxy.
    package var proxyEnvironment: [String: String]?
    /// For establishing a connection, TLS included.
    package var connectLimit: Duration = .seconds(10)
    /// For a whole call that is given no deadline of its own, its retries included.
    package var callLimit: Duration = .seconds(60)
    /// For each wait for the server, however long the whole call may last.
    package var idleLimit: Duration = .seconds(300)
    /// The most bytes of one message that comes, before and after decompression.
    package var messageLimit = 16 << 20
    package var retry = RetryPolicy()
    package var observer: Observer?
    /// Told of each request that failed, whether or not it is sent again; it must return at once.
    package var onFailure: (@Sendable (ConnectError) -> Void)?
    package var userAgent = "snapwf"

    package init(address: ServerAddress, headers: @escaping Headers = { () throws(ConnectError) in [] }) {
        self.address = address
        self.headers = headers
    }
}

/// A boundary of one request, for whoever watches or interrupts them.
package struct RequestEvent: Hashable, Sendable {
    package enum Point: String, Hashable, Sendable, CaseIterable {
        case beforeSend
        case afterSend
        /// The server's answer, success or error, is complete.
        case afterAnswer
    }

    package let point: Point
    /// `package.Service/Method`.
    package let method: String
    /// 1 for the first.
    package let attempt: Int
}
