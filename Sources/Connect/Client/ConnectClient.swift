internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
package import SwiftProtobuf
internal import Synchronization

/// A client of one server that speaks the Connect protocol: unary calls over HTTP/2 where TLS negotiates it, all else over
/// HTTP/1.1.
///
/// Every call ends within its deadline. It is sent again only where that cannot do harm: see `RetryPolicy`. When a call fails
/// in a way that leaves open whether it had its effect, the error says `isAmbiguous`.
package final class ConnectClient: Sendable {
    package let configuration: ConnectClientConfiguration
    private let http: HTTPClient
    /// Streams last for hours, and a server limits how many share a connection of HTTP/2: they get connections of their own.
    /// It also keeps them from a defect of the HTTP client, which traps in HTTP/2 after an answer that is complete before
    /// its request is.
    private let streams: HTTPClient
    private let isShutDown = Mutex(false)

    /// - Throws: `invalidArgument` for a CA file or a proxy variable that cannot be used.
    package init(_ configuration: ConnectClientConfiguration) throws(ConnectError) {
        self.configuration = configuration
        // One event loop, so that no request waits on another loop than its connection's.
        let loop = MultiThreadedEventLoopGroup.singleton.any()
        var http = try configuration.forHTTPClient()
        self.http = HTTPClient(eventLoopGroupProvider: .shared(loop), configuration: http)
        http.httpVersion = .http1Only
        streams = HTTPClient(eventLoopGroupProvider: .shared(loop), configuration: http)
    }

    deinit {
        // The HTTP client must not go away while it is open. Whoever forgot `shutdown()` gets it late.
        if isShutDown.withLock({ $0 }) { return }
        http.shutdown { _ in }
        streams.shutdown { _ in }
    }

    /// Closes all connections; calls that still run fail with `canceled`.
    package func shutdown() async {
        let isFirst = isShutDown.withLock { isShutDown in
            defer { isShutDown = true }
            return !isShutDown
        }
        // What it throws is that calls were still running, and they know.
        guard isFirst else { return }
        _ = try? await http.shutdown()
        _ = try? await streams.shutdown()
    }

    /// One message there, one back.
    ///
    /// - Parameter deadline: for all of the call, its retries included.
    package func unary<Q: Message, A: Message>(
        _ method: Method<Q, A>, _ request: Q, deadline: Duration? = nil
    ) async throws(ConnectError) -> A {
        let bytes = try configuration.codec.encode(request)
        let isCompressed = configuration.mayCompress(bytes)
        let body = ByteBuffer(bytes: isCompressed ? try Gzip.compress(bytes) : bytes)
        return try await retrying(method.path, method.repeatability, deadline) { call throws(CallFailure) in
            let exchange = try await self.start(call, .unary, .whole(body), isCompressed: isCompressed)
            defer { exchange.close() }
            try await self.observeSent(call, exchange)
            let answer: Result<[UInt8], CallFailure>
            do throws(CallFailure) {
                answer = .success(try await UnaryAnswer(self.configuration).read(exchange))
            } catch {
                answer = .failure(error)
                if !error.isAnswer { throw error }
            }
            try await self.observe(.afterAnswer, call)
            let message = try answer.get()
            do throws(ConnectError) {
                return try self.configuration.codec.decode(message)
            } catch {
                throw CallFailure(ConnectError(.internal, error.message, isAmbiguous: true))
            }
        }
    }

    // MARK: Requests

    /// What one request of a call has to know.
    struct Call {
        let path: String
        let deadline: ContinuousClock.Instant
        let attempt: Int
    }

    /// Makes requests until one succeeds, or another cannot help or is not allowed.
    func retrying<A>(
        _ path: String, _ repeatability: Repeatability, _ limit: Duration?,
        _ attempt: (Call) async throws(CallFailure) -> A
    ) async throws(ConnectError) -> A {
        let deadline = ContinuousClock.now + (limit ?? configuration.callLimit)
        var failures = 0
        var wasAmbiguous = false
        while true {
            do throws(CallFailure) {
                return try await attempt(Call(path: path, deadline: deadline, attempt: failures + 1))
            } catch {
                failures += 1
                configuration.onFailure?(error.error)
                wasAmbiguous = wasAmbiguous || error.error.isAmbiguous
                var last = error.error
                last.isAmbiguous = wasAmbiguous
                guard configuration.retry.allowsRetry(of: repeatability, after: error, failures: failures) else {
                    throw last
                }
                let delay = configuration.retry.delay(
                    afterFailures: failures, retryAfter: last.retryAfter, random: .random(in: 0...1))
                guard ContinuousClock.now + delay < deadline else { throw last }
                do {
                    try await Task.sleep(for: delay)
                } catch {
                    throw ConnectError(.canceled, "the call was cancelled", isAmbiguous: wasAmbiguous)
                }
            }
        }
    }

    /// Sends a request. Whoever gets the exchange closes it.
    func start(
        _ call: Call, _ kind: MethodKind, _ body: HTTPClient.Body?, isCompressed: Bool, idle: Duration? = nil
    ) async throws(CallFailure) -> Exchange {
        try await observe(.beforeSend, call)
        let secret: [(name: String, value: String)]
        do throws(ConnectError) {
            secret = try await configuration.headers()
        } catch {
            throw CallFailure(error)
        }
        let exchange = Exchange(
            target: configuration.address.description, idleLimit: idle ?? configuration.idleLimit,
            secrets: Secrets(secret))
        var headers = configuration.protocolHeaders(kind, isCompressed: isCompressed)
        headers.add(
            name: TimeoutHeader.name, value: TimeoutHeader.text(max(.zero, call.deadline - ContinuousClock.now)))
        for (name, value) in secret {
            guard isFieldName(name), isFieldValue(value) else {
                throw CallFailure(
                    ConnectError(
                        .invalidArgument,
                        "the value of the header \(ConnectError.shown(name)) cannot be sent: does it hold a line break?"
                    ))
            }
            headers.replaceOrAdd(name: name, value: value)
        }
        do {
            let request = try HTTPClient.Request(
                url: configuration.address.url(call.path), method: .POST, headers: headers,
                body: body ?? exchange.streamedBody())
            exchange.start(request, client: kind == .unary ? http : streams, until: call.deadline)
        } catch {
            throw CallFailure(
                connection: error, target: configuration.address.description, progress: .nothing)
        }
        return exchange
    }

    func observe(_ point: RequestEvent.Point, _ call: Call) async throws(CallFailure) {
        guard let observer = configuration.observer else { return }
        do throws(ConnectError) {
            try await observer(RequestEvent(point: point, method: call.path, attempt: call.attempt))
        } catch {
            throw CallFailure(error)
        }
    }

    func observeSent(_ call: Call, _ exchange: Exchange) async throws(CallFailure) {
        if configuration.observer == nil { return }
        try await exchange.sent()
        try await observe(.afterSend, call)
    }
}
