internal import HummingbirdCore
internal import HummingbirdHTTP2
package import Logging
internal import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import Synchronization

package struct ConnectServerConfiguration: Sendable {
    package enum Address: Hashable, Sendable {
        /// Port 0 takes a free one.
        case tcp(host: String, port: Int)
        /// For the owner only. A file that a dead server left behind is replaced, a living one's is not.
        case unix(path: String)
    }

    /// Files in PEM form.
    package struct TLS: Hashable, Sendable {
        package var certificateFile: String
        package var keyFile: String

        package init(certificateFile: String, keyFile: String) {
            self.certificateFile = certificateFile
            self.keyFile = keyFile
        }
    }

    package var address: Address
    package var tls: TLS?
    /// A connection without a request, or one whose request does not go on, is closed after this.
    package var idleLimit: Duration = .seconds(120)
    /// For a connection's first bytes, and for each wait until a connection takes what is written.
    package var stallLimit: Duration = .seconds(60)
    /// What running calls get to end by themselves when the server stops.
    package var grace: Duration = .seconds(10)
    /// The most bytes of a request's head.
    package var headLimit = 64 << 10

    package init(address: Address) { self.address = address }
}

/// Serves a router's calls over HTTP/1.1 and HTTP/2, with TLS (ALPN) or without (by the first bytes).
package struct ConnectServer: Sendable {
    package let configuration: ConnectServerConfiguration
    private let responder: ConnectResponder
    private let logger: Logger

    package init(_ configuration: ConnectServerConfiguration, router: ConnectRouter, logger: Logger) {
        self.configuration = configuration
        self.logger = logger
        responder = ConnectResponder(router: router, logger: logger, writeLimit: configuration.stallLimit)
    }

    /// Serves until `stop` returns; then takes no new calls, and cancels those that have not ended after the grace.
    ///
    /// - Parameter onRunning: told where the server listens.
    /// - Throws: `ConnectError` when it cannot listen, saying why.
    package func run(
        onRunning: @escaping @Sendable (ServerAddress) async -> Void, until stop: @escaping @Sendable () async -> Void
    ) async throws {
        var quiet = logger
        // The library's words on every connection; failures of calls are logged by the responder.
        quiet.logLevel = logger.logLevel < .warning ? .warning : logger.logLevel
        let socket: SocketFile? =
            if case .unix(let path) = configuration.address { try SocketFile(path) } else { nil }
        defer { socket?.remove() }
        let failure = Mutex<ConnectError?>(nil)
        let announce: @Sendable (any Channel) async -> Void = { channel in
            do throws(ConnectError) {
                try socket?.publish()
                await onRunning(try self.address(of: channel))
            } catch {
                failure.withLock { $0 = error }
                channel.close(promise: nil)
            }
        }
        let address: BindAddress =
            switch configuration.address {
            case .tcp(let host, let port): .hostname(host, port: port)
            case .unix(let path): .unixDomainSocket(path: socket?.bindPath ?? path)
            }
        do {
            let responder = responder
            let (http1, http2) = channelConfigurations()
            let respond: HTTPChannelHandler.Responder = { try await responder.respond($0, $1, $2) }
            if let tls = configuration.tls {
                let channel = try HTTP2UpgradeChannel(
                    tlsConfiguration: try tlsConfiguration(tls), configuration: http2, responder: respond)
                try await run(channel, at: address, quiet, announce, until: stop)
            } else {
                let channel = EitherChannel(
                    http1: HTTP1Channel(responder: respond, configuration: http1),
                    http2: HTTP2Channel(responder: respond, configuration: http2))
                try await run(channel, at: address, quiet, announce, until: stop)
            }
        } catch let error as IOError {
            throw ConnectError(
                .unavailable, "the server cannot listen at \(shownAddress): \(describe(errno: error.errnoCode))")
        }
        if let error = failure.withLock({ $0 }) { throw error }
    }

    private func run(
        _ channel: some ServerChildChannel, at address: BindAddress, _ logger: Logger,
        _ announce: @escaping @Sendable (any Channel) async -> Void, until stop: @escaping @Sendable () async -> Void
    ) async throws {
        let server = Server(
            childChannelSetup: LimitedChannel(inner: channel, limit: configuration.stallLimit),
            configuration: ServerConfiguration(address: address), onServerRunning: announce,
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton, logger: logger)
        let grace = configuration.grace
        try await withThrowingTaskGroup(of: Bool.self) { group in
            group.addTask {
                try await server.run()
                return true
            }
            group.addTask {
                await stop()
                return false
            }
            if try await group.next() == true {
                group.cancelAll()
                return
            }
            group.addTask {
                try? await server.shutdownGracefully()
                return false
            }
            group.addTask {
                try? await Task.sleep(for: grace)
                return true
            }
            // Either everything has ended, or the grace is over.
            while let isOver = try await group.next(), !isOver {}
            group.cancelAll()
        }
    }

    private func channelConfigurations() -> (HTTP1Channel.Configuration, HTTP2Channel.Configuration) {
        var http1 = HTTP1Channel.Configuration(
            additionalChannelHandlers: [ClientPresence()], idleTimeout: TimeAmount(configuration.idleLimit))
        http1.httpDecoder.maxHeaderFieldSize = configuration.headLimit
        http1.httpDecoder.maxHeaderListSize = configuration.headLimit
        http1.httpDecoder.maxHeaderFieldCount = 256
        let http2 = HTTP2Channel.Configuration(
            idleTimeout: configuration.idleLimit, gracefulCloseTimeout: configuration.grace, streamConfiguration: http1)
        return (http1, http2)
    }

    private func tlsConfiguration(_ tls: ConnectServerConfiguration.TLS) throws(ConnectError) -> TLSConfiguration {
        do {
            return TLSConfiguration.makeServerConfiguration(
                certificateChain: try NIOSSLCertificate.fromPEMFile(tls.certificateFile).map { .certificate($0) },
                privateKey: .privateKey(try NIOSSLPrivateKey(file: tls.keyFile, format: .pem)))
        } catch {
            throw ConnectError(
                .invalidArgument,
                "the certificate \(ConnectError.shown(tls.certificateFile)) or the key "
                    + "\(ConnectError.shown(tls.keyFile)) cannot be used: both must be files in PEM form")
        }
    }

    private var shownAddress: String {
        switch configuration.address {
        case .tcp(let host, let port): ConnectError.shown("\(host):\(port)")
        case .unix(let path): ConnectError.shown(path)
        }
    }

    /// Where clients find the server, with the port that the system chose.
    private func address(of channel: any Channel) throws(ConnectError) -> ServerAddress {
        switch configuration.address {
        case .unix(let path): return try ServerAddress("unix:\(path)")
        case .tcp(let host, let port):
            let shownHost = host.contains(":") ? "[\(host)]" : host
            let scheme = configuration.tls == nil ? "http" : "https"
            return try ServerAddress("\(scheme)://\(shownHost):\(channel.localAddress?.port ?? port)")
        }
    }
}
