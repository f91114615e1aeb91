internal import AsyncHTTPClient
internal import Logging
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL
internal import Proxies
internal import Synchronization

/// One HTTP exchange at a time: connections, TLS, proxies and redirects, but neither retries nor credentials.
final class RegistryTransport: Sendable {
    struct Request: Sendable {
        var method = HTTPMethod.GET
        var address: WebAddress
        var headers = HTTPHeaders()
        /// Goes to the first server only, never along a redirect to another one.
        var authorization: String?
        var body: [UInt8]?
        /// Whether the body may go where a redirect leads. Never for one with a secret.
        var isUpload = false

        /// Whether a redirect may be followed with the same method and body (RFC 9110, 15.4).
        fileprivate func mayFollow(_ status: Int) -> Bool {
            switch status {
            case 301, 302, 303: method == .GET || method == .HEAD
            case 307, 308: method == .GET || method == .HEAD || isUpload
            default: false
            }
        }
    }

    /// The head of an answer. The connection is given up when nobody has taken the body before this goes.
    final class Answer: Sendable {
        let response: HTTPResponseHead
        /// Where the answer came from in the end.
        let address: WebAddress
        private let stream: ResponseStream

        fileprivate init(_ response: HTTPResponseHead, from address: WebAddress, stream: ResponseStream) {
            self.response = response
            self.address = address
            self.stream = stream
        }

        deinit { stream.cancel() }

        /// Hands the body to `sink`, which runs on the event loop; returns when it is complete. To be called once.
        func receive(_ sink: @escaping ResponseStream.Sink) async throws(RequestFailure) {
            do {
                try await stream.receive(sink)
            } catch {
                throw RequestFailure(connection: error, origin: address.origin)
            }
        }

        /// After the sink had no room: there is again. From any thread.
        func resume() { stream.resume() }

        var status: Int { Int(response.status.code) }
        var isSuccess: Bool { (200..<300).contains(status) }
    }

    private enum State {
        case open([ProxyVariables.Proxy?: HTTPClient])
        case shutDown
    }

    private static let mostRedirects = 8
    /// The callers bound how many blobs they open; a limit here would make one open blob wait for another.
    private static let mostConnectionsPerHost = 256

    /// What one read takes from a connection: grows with what comes, so that a fast one is not read in small pieces, and a
    /// slow one does not keep much memory for them.
    private static let receiveBuffers = AdaptiveRecvByteBufferAllocator(
        minimum: 4 << 10, initial: 64 << 10, maximum: 256 << 10)

    let options: RegistryOptions
    private let proxies: ProxyVariables
    private let logger: Logger
    private let state = Mutex(State.open([:]))

    init(options: RegistryOptions, logger: Logger) {
        self.options = options
        self.logger = logger
        proxies = ProxyVariables(options.proxyEnvironment)
    }

    deinit {
        // The HTTP client must not go away while it is open. Whoever forgot `shutdown()` gets it late.
        for client in takeClients() { client.shutdown { _ in } }
    }

    /// Closes all connections; requests that still run fail.
    func shutdown() async {
        for client in takeClients() {
            do {
                try await client.shutdown()
            } catch {
                logger.debug("the HTTP client did not shut down cleanly", metadata: ["error": "\(error)"])
            }
        }
    }

    /// Sends a request and follows redirects. Returns with the head of the last answer, whatever its status.
    func send(_ request: Request) async throws(RequestFailure) -> Answer {
        var address = request.address
        var authorization = request.authorization
        for _ in 0...Self.mostRedirects {
            let answer = try await exchange(request, at: address, authorization: authorization)
            guard request.mayFollow(answer.status),
                let location = answer.response.headers.first(name: "location")
            else { return answer }
            let next = try target(ofRedirect: location, from: address)
            if next.origin != address.origin { authorization = nil }
            address = next
        }
        throw RequestFailure(
            .invalidResponse, "\(request.address.redacted) redirects more than \(Self.mostRedirects) times")
    }

    /// Where a redirect leads: never from encryption to none, unless the options allow it for that host.
    func target(ofRedirect location: String, from address: WebAddress) throws(RequestFailure) -> WebAddress {
        guard let next = WebAddress(location, relativeTo: address) else {
            throw RequestFailure(
                .invalidResponse, "\(address.redacted) redirects to something that is no web address")
        }
        if address.origin.isEncrypted, !next.origin.isEncrypted, !options.mayUsePlainHTTP(next.origin) {
            throw RequestFailure(
                .invalidResponse,
                "\(address.redacted) redirects to \(next.redacted), which is not encrypted: refused")
        }
        return next
    }

    private func exchange(
        _ request: Request, at address: WebAddress, authorization: String?
    ) async throws(RequestFailure) -> Answer {
        var headers = request.headers
        headers.replaceOrAdd(name: "user-agent", value: options.userAgent)
        // Blobs are compressed as they are; a second layer would only break sizes and digests.
        headers.replaceOrAdd(name: "accept-encoding", value: "identity")
        if let authorization { headers.replaceOrAdd(name: "authorization", value: authorization) }
        let proxy = try proxy(for: address.origin)
        let client = try client(through: proxy)
        do {
            let message = try HTTPClient.Request(
                url: address.text, method: request.method, headers: headers, body: request.body.map(Self.body))
            let (head, stream) = try await ResponseStream.open(
                message, client: client, limit: TimeAmount(options.timeouts.head))
            return Answer(head, from: address, stream: stream)
        } catch {
            if Task.isCancelled { throw RequestFailure(.cancelled, "the request to \(address.origin) was cancelled") }
            throw RequestFailure(connection: error, origin: address.origin).through(proxy)
        }
    }

    /// Sent piece by piece, so that progress can be seen.
    private static func body(_ bytes: [UInt8]) -> HTTPClient.Body {
        let buffer = ByteBuffer(bytes: bytes)
        guard buffer.readableBytes > pieceSize else { return .byteBuffer(buffer) }
        return .stream(contentLength: Int64(buffer.readableBytes)) { writer in
            @Sendable func write(_ rest: ByteBuffer) -> EventLoopFuture<Void> {
                var rest = rest
                guard let piece = rest.readSlice(length: min(pieceSize, rest.readableBytes)) else {
                    return writer.write(.byteBuffer(rest))
                }
                let next = rest
                let written = writer.write(.byteBuffer(piece))
                return next.readableBytes == 0 ? written : written.flatMap { write(next) }
            }
            return write(buffer)
        }
    }

    private static let pieceSize = 128 << 10

    // MARK: Clients

    /// One client for each proxy that is in use, because a client knows only one.
    private func client(through proxy: ProxyVariables.Proxy?) throws(RequestFailure) -> HTTPClient {
        do throws(OCIError) {
            return try state.withLock { (state) throws(OCIError) -> HTTPClient in
                guard case .open(var clients) = state else {
                    throw OCIError(.cancelled, "the connections to registries are already shut down")
                }
                if let client = clients[proxy] { return client }
                // One event loop, so that no request waits on another loop than its connection's: each piece would have to
                // be passed on. It reads faster than layers are inflated.
                let client = HTTPClient(
                    eventLoopGroupProvider: .shared(MultiThreadedEventLoopGroup.singleton.any()),
                    configuration: try configuration(proxy))
                clients[proxy] = client
                state = .open(clients)
                return client
            }
        } catch {
            throw RequestFailure(error)
        }
    }

    private func takeClients() -> [HTTPClient] {
        state.withLock { state in
            guard case .open(let clients) = state else { return [] }
            state = .shutDown
            return Array(clients.values)
        }
    }

    private func proxy(for origin: WebAddress.Origin) throws(RequestFailure) -> ProxyVariables.Proxy? {
        do {
            return try proxies.proxy(forHost: origin.host, port: origin.port, isEncrypted: origin.isEncrypted)
        } catch {
            throw RequestFailure(.invalidConfiguration, error.description)
        }
    }

    private func configuration(_ proxy: ProxyVariables.Proxy?) throws(OCIError) -> HTTPClient.Configuration {
        var tls = TLSConfiguration.makeClientConfiguration()
        if let file = options.caFile {
            do {
                tls.additionalTrustRoots = [.certificates(try NIOSSLCertificate.fromPEMFile(file))]
            } catch {
                throw OCIError(
                    .invalidConfiguration,
                    "the CA file \(printable(file)) cannot be used: it must hold certificates in PEM form",
                    cause: error)
            }
        }
        var configuration = HTTPClient.Configuration(
            tlsConfiguration: tls, redirectConfiguration: .disallow,
            timeout: .init(connect: TimeAmount(options.timeouts.connect)), decompression: .disabled)
        // Waits between pieces of a body are watched by the transfers, which know whether it is the network or the
        // reader that is slow; the client's read timeout cannot tell.
        configuration.timeout.read = nil
        configuration.httpVersion = .http1Only
        configuration.http1_1ConnectionDebugInitializer = { channel in
            channel.setOption(.recvAllocator, value: Self.receiveBuffers)
        }
        configuration.connectionPool.retryConnectionEstablishment = false
        configuration.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = Self.mostConnectionsPerHost
        if let proxy {
            configuration.proxy = .server(
                host: proxy.host, port: proxy.port,
                authorization: proxy.user.map { .basic(username: $0, password: proxy.password ?? "") })
        }
        return configuration
    }
}

/// A document as it comes.
private final class Bytes: Sendable {
    let value = Mutex<[UInt8]>([])
}

extension RegistryTransport.Answer {
    /// The whole body, which must not be larger than `limit`.
    func document(limit: Int, what: String) async throws(RequestFailure) -> [UInt8] {
        @Sendable func tooLarge() -> RequestFailure {
            RequestFailure(.tooLarge, "\(what) is larger than \(limit) bytes: it is not read")
        }
        if let stated = contentLength, stated > Int64(limit) { throw tooLarge() }
        let bytes = Bytes()
        try await receive { (piece) throws(RequestFailure) in
            let fits = bytes.value.withLock { bytes in
                guard piece.readableBytes <= limit - bytes.count else { return false }
                bytes += piece.readableBytesView
                return true
            }
            guard fits else { throw tooLarge() }
            return true
        }
        return bytes.value.withLock { $0 }
    }

    /// The text of an answer that is an error already; nothing when it is too long or does not come.
    ///
    /// Read also where nobody wants to know it: a connection whose answer was read can be used again.
    func errorText(within limit: Duration) async -> [UInt8] {
        do throws(RequestFailure) {
            return try await withDeadline(limit, "the answer") { () async throws(RequestFailure) -> [UInt8] in
                try await self.document(limit: 64 << 10, what: "the answer")
            }
        } catch {
            // The status line has said what matters.
            return []
        }
    }

    /// `Content-Length`, when there is one that is a number.
    var contentLength: Int64? {
        response.headers.first(name: "content-length").flatMap { Int64($0) }.flatMap { $0 >= 0 ? $0 : nil }
    }

    /// `Retry-After` in seconds or as a date (RFC 9110, 10.2.3), never negative.
    var retryAfter: Duration? {
        guard let value = response.headers.first(name: "retry-after") else { return nil }
        if let seconds = Int64(value), seconds >= 0 { return .seconds(min(seconds, 1 << 32)) }
        guard let date = secondsSinceEpoch(httpDate: value) else { return nil }
        return .seconds(max(0, date - currentTime()))
    }
}
