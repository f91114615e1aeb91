internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import NIOSSL
internal import Proxies
internal import SwiftProtobuf

extension ConnectClientConfiguration {
    func mayCompress(_ bytes: [UInt8]) -> Bool { compressesRequests && bytes.count >= Gzip.leastSize }

    /// A message of a stream, compressed where that helps.
    func envelope(_ message: some Message) throws(ConnectError) -> Envelope {
        try Envelope(try codec.encode(message), compresses: compressesRequests)
    }

    /// What the protocol asks of every request of this kind.
    func protocolHeaders(_ kind: MethodKind, isCompressed: Bool) -> HTTPHeaders {
        var headers: HTTPHeaders = [
            "content-type": codec.contentType(kind), "connect-protocol-version": "1", "user-agent": userAgent,
        ]
        if kind == .unary {
            headers.add(name: "accept-encoding", value: acceptsCompression ? Gzip.name : "identity")
            if isCompressed { headers.add(name: "content-encoding", value: Gzip.name) }
        } else {
            headers.add(name: "accept-encoding", value: "identity")
            headers.add(name: "connect-accept-encoding", value: acceptsCompression ? Gzip.name : "identity")
            if isCompressed { headers.add(name: "connect-content-encoding", value: Gzip.name) }
        }
        if address.host == nil { headers.add(name: "host", value: "localhost") }
        return headers
    }

    /// The proxy that the variables name for the address; never one for a socket.
    func proxy(for address: ServerAddress) throws(ConnectError) -> ProxyVariables.Proxy? {
        guard let host = address.host else { return nil }
        do {
            return try ProxyVariables(proxyEnvironment)
                .proxy(forHost: host, port: address.port, isEncrypted: address.isEncrypted)
        } catch {
            throw ConnectError(.invalidArgument, error.description)
        }
    }

    func forHTTPClient() throws(ConnectError) -> HTTPClient.Configuration {
        var tls = TLSConfiguration.makeClientConfiguration()
        if let caFile {
            do {
                tls.additionalTrustRoots = [.certificates(try NIOSSLCertificate.fromPEMFile(caFile))]
            } catch {
                throw ConnectError(
                    .invalidArgument,
                    "the CA file \(ConnectError.shown(caFile)) cannot be used: it must hold certificates in PEM form")
            }
        }
        var http = HTTPClient.Configuration(
            tlsConfiguration: tls, redirectConfiguration: .disallow,
            timeout: .init(connect: TimeAmount(connectLimit)), decompression: .disabled)
        // Waits are watched by the exchange, which knows whether it is the server or the reader that is slow.
        http.timeout.read = nil
        http.connectionPool.retryConnectionEstablishment = false
        // Streams keep their connections for hours, and a limit would make one call wait for another.
        http.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 256
        // Shorter than servers keep idle connections: a request on one that is just closing has an unknown outcome.
        http.connectionPool.idleTimeout = .seconds(15)
        if let proxy = try proxy(for: address) {
            http.proxy = .server(
                host: proxy.host, port: proxy.port,
                authorization: proxy.user.map { .basic(username: $0, password: proxy.password ?? "") })
        }
        return http
    }
}

/// RFC 9110, 5.1: a token.
func isFieldName(_ name: String) -> Bool {
    !name.isEmpty
        && name.utf8.allSatisfy { byte in
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
            default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
            }
        }
}

/// RFC 9110, 5.5, without the bytes above ASCII.
func isFieldValue(_ value: String) -> Bool {
    value.utf8.allSatisfy { (0x20...0x7e).contains($0) || $0 == 0x09 }
}
