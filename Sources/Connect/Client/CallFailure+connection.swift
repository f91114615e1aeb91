internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import NIOSSL

extension CallFailure {
    /// Says in words what a failure below HTTP means for the server `target`.
    init(connection cause: any Error, target: String, progress: Exchange.Progress) {
        switch cause {
        case let failure as CallFailure:
            self = failure
            // The moment in which the request leaves is another thread's: this side cannot know.
            if progress == .nothing, failure.error.code == .unavailable { break }
            error.isAmbiguous = true
        case is CancellationError:
            self.init(ConnectError(.canceled, "the call was cancelled", isAmbiguous: true))
        case let error as HTTPClientError:
            self.init(client: error, target: target)
        case let error as NIOConnectionError:
            self.init(connect: error, target: target)
        case let error as IOError:
            self.init(.unavailable, "no connection to \(target): \(describe(errno: error.errnoCode))")
        case let error as HTTPParserError where error == .invalidEOFState:
            self.init(.unavailable, "\(target) closed the connection before its answer was complete")
        case is HTTPParserError:
            self.init(
                .unavailable, "\(target) answers something that is no HTTP: is the address right?", isPassing: false)
        case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError:
            self.init(tls: cause, target: target)
        default:
            self.init(.unavailable, "the connection to \(target) failed: \(ConnectError.shown("\(cause)"))")
        }
        if !(cause is CallFailure), progress > .nothing { error.isAmbiguous = true }
    }

    private init(_ code: ConnectError.Code, _ message: String, isPassing: Bool = true) {
        self.init(ConnectError(code, message), isPassing: isPassing)
    }

    private init(client error: HTTPClientError, target: String) {
        switch error {
        case .cancelled, .alreadyShutdown:
            self.init(.canceled, "the call was cancelled: the client is shut down", isPassing: false)
        case .connectTimeout, .getConnectionFromPoolTimeout, .socksHandshakeTimeout, .httpProxyHandshakeTimeout:
            self.init(
                .unavailable, "\(target) does not accept a connection in time: is the address right, is there a proxy?")
        case .tlsHandshakeTimeout:
            self.init(.unavailable, "\(target) does not answer the TLS handshake in time: does it speak TLS?")
        case .remoteConnectionClosed:
            self.init(.unavailable, "\(target) closed the connection before its answer was complete")
        case .proxyAuthenticationRequired:
            self.init(
                .unavailable, "the proxy on the way to \(target) wants credentials: put them into its variable",
                isPassing: false)
        default:
            self.init(.unavailable, "the request to \(target) failed: \(error.shortDescription)")
        }
    }

    private init(connect error: NIOConnectionError, target: String) {
        if let system = error.connectionErrors.lazy.compactMap({ $0.error as? IOError }).first {
            self.init(.unavailable, "no connection to \(target): \(describe(errno: system.errnoCode))")
        } else if error.dnsAError != nil || error.dnsAAAAError != nil {
            self.init(
                .unavailable,
                "the host name \(ConnectError.shown(error.host)) is not known to the name service (DNS): "
                    + "is it written right, is there a network?")
        } else {
            self.init(.unavailable, "no connection to \(target) is possible")
        }
    }

    private init(tls cause: any Error, target: String) {
        let detail = "\(cause)"
        // Words of BoringSSL's reasons. A certificate does not become better by asking again.
        if detail.contains("CERTIFICATE_VERIFY_FAILED") || detail.contains("unableToValidateCertificate") {
            self.init(.unavailable, "the certificate of \(target) is not trusted", isPassing: false)
            error.isUntrusted = true
        } else if detail.contains("WRONG_VERSION_NUMBER") || detail.contains("HTTP_REQUEST") {
            self.init(
                .unavailable, "\(target) does not speak TLS: is it meant to be http instead of https?",
                isPassing: false)
        } else {
            self.init(.unavailable, "the TLS connection to \(target) failed: \(ConnectError.shown(detail))")
        }
    }
}
