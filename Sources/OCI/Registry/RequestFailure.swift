internal import AsyncHTTPClient
internal import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import Proxies

/// Why one try of a request failed.
struct RequestFailure: Error, Sendable {
    private(set) var error: OCIError
    /// What the server asked for in `Retry-After`.
    var retryAfter: Duration?
    /// The HTTP status, where one says more than the error's code.
    var status: Int?

    init(_ error: OCIError, retryAfter: Duration? = nil) {
        self.error = error
        self.retryAfter = retryAfter
    }

    init(_ code: OCIError.Code, _ message: String, cause: (any Error)? = nil, retryable: Bool? = nil) {
        self.init(OCIError(code, message, cause: cause, retryable: retryable))
    }
}

extension RequestFailure {
    /// The same, and which proxy was asked: what it does not reach looks as if the server were away.
    func through(_ proxy: ProxyVariables.Proxy?) -> RequestFailure {
        guard let proxy, [.unreachable, .timedOut].contains(error.code) else { return self }
        var failure = self
        failure.error = OCIError(
            error.code, "\(error.message) (through the proxy \(printable(proxy.host)):\(proxy.port))",
            cause: error.cause, retryable: error.isRetryable)
        return failure
    }

    /// Says in words what a failure below HTTP means for the server at `origin`.
    init(connection cause: any Error, origin: WebAddress.Origin) {
        switch cause {
        case let failure as RequestFailure:
            self = failure
        case is CancellationError:
            self.init(.cancelled, "the request to \(origin) was cancelled")
        case let error as HTTPClientError:
            self.init(client: error, origin: origin)
        case let error as NIOConnectionError:
            self.init(connect: error, origin: origin)
        case let error as IOError:
            self.init(system: error, origin: origin)
        case is NIOSSLError, is BoringSSLError, is NIOSSLExtraError:
            self.init(tls: cause, origin: origin)
        default:
            self.init(.unreachable, "the connection to \(origin) failed: \(printable("\(cause)"))", cause: cause)
        }
    }

    private init(client error: HTTPClientError, origin: WebAddress.Origin) {
        switch error {
        case .cancelled, .alreadyShutdown:
            self.init(.cancelled, "the request to \(origin) was cancelled", cause: error)
        case .connectTimeout, .deadlineExceeded, .readTimeout, .writeTimeout, .getConnectionFromPoolTimeout:
            self.init(
                .timedOut, "\(origin) does not answer in time: is the address right, is there a proxy?", cause: error)
        case .tlsHandshakeTimeout:
            self.init(
                .timedOut, "\(origin) does not answer the TLS handshake in time: does it speak TLS?", cause: error)
        case .remoteConnectionClosed:
            self.init(.unreachable, "\(origin) closed the connection before its answer was complete", cause: error)
        case .proxyAuthenticationRequired:
            self.init(
                .unauthorized, "the proxy on the way to \(origin) wants credentials: put them into its variable",
                cause: error)
        default:
            self.init(.unreachable, "the request to \(origin) failed: \(error.shortDescription)", cause: error)
        }
    }

    private init(connect error: NIOConnectionError, origin: WebAddress.Origin) {
        if let system = error.connectionErrors.lazy.compactMap({ $0.error as? IOError }).first {
            self.init(system: system, origin: origin)
        } else if error.dnsAError != nil || error.dnsAAAAError != nil {
            self.init(
                .unreachable,
                "the host name \(printable(error.host, limit: 255)) is not known to the name service (DNS): "
                    + "is it written right, is there a network?", cause: error)
        } else {
            self.init(.unreachable, "no connection to \(origin) is possible", cause: error)
        }
    }

    private init(system error: IOError, origin: WebAddress.Origin) {
        let why = describe(errno: error.errnoCode)
        self.init(.unreachable, "no connection to \(origin): \(why)", cause: error)
    }

    private init(tls cause: any Error, origin: WebAddress.Origin) {
        let detail = "\(cause)"
        // Words of BoringSSL's reasons. A certificate does not become better by asking again.
        if detail.contains("CERTIFICATE_VERIFY_FAILED") || detail.contains("unableToValidateCertificate") {
            self.init(
                .unreachable,
                "the certificate of \(origin) is not trusted: if it was signed by a CA of your own, "
                    + "give that CA's certificate as CA file", cause: cause, retryable: false)
        } else if detail.contains("WRONG_VERSION_NUMBER") || detail.contains("HTTP_REQUEST") {
            self.init(
                .unreachable,
                "\(origin) does not speak TLS: if it is meant to be plain HTTP, allow that for this host",
                cause: cause, retryable: false)
        } else {
            self.init(.unreachable, "the TLS connection to \(origin) failed: \(printable(detail))", cause: cause)
        }
    }
}
