internal import FoundationEssentials

/// Where a server is: `http://host:port/prefix`, `https://…`, or a Unix socket as `unix:/path` or `http+unix://%2Fpath`.
package struct ServerAddress: Hashable, Sendable, CustomStringConvertible {
    /// What a path of the service is put after, ready for the HTTP client.
    let base: String
    /// Lower case, without brackets; nil for a Unix socket.
    let host: String?
    let port: Int
    let isEncrypted: Bool
    /// For messages. There are no secrets in it: an address with user information is refused.
    package let description: String

    /// - Throws: `invalidArgument`, saying what an address looks like.
    package init(_ text: String) throws(ConnectError) {
        func refused(_ why: String) -> ConnectError {
            ConnectError(
                .invalidArgument, "the address of the server \(why): write https://HOST, http://HOST:PORT or unix:PATH")
        }
        if let path = Self.socketPath(text) {
            guard path.hasPrefix("/"), path.utf8.count < 108, !path.utf8.contains(0) else {
                throw refused("does not name a socket by an absolute path of at most 107 bytes")
            }
            base = "http+unix://\(Self.percentEncoded(path))"
            (host, port, isEncrypted) = (nil, 0, false)
            description = "unix:\(ConnectError.shown(path))"
            return
        }
        guard text.utf8.count <= 4096, let parts = URLComponents(string: text), let scheme = parts.scheme?.lowercased(),
            scheme == "http" || scheme == "https", let host = parts.host?.lowercased(), !host.isEmpty
        else { throw refused("is no web address") }
        if parts.user != nil || parts.password != nil {
            throw refused("holds a name or a password, which belong into a token")
        }
        guard parts.query == nil, parts.fragment == nil else { throw refused("has a query or a fragment") }
        let port = parts.port ?? (scheme == "https" ? 443 : 80)
        guard (1...65535).contains(port) else { throw refused("has a port that is none") }
        let bare = host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
        var path = parts.percentEncodedPath
        while path.hasSuffix("/") { path.removeLast() }
        let shownHost = bare.contains(":") ? "[\(bare)]" : bare
        let isDefault = port == (scheme == "https" ? 443 : 80)
        base = "\(scheme)://\(shownHost)\(isDefault ? "" : ":\(port)")\(path)"
        self.host = bare
        self.port = port
        isEncrypted = scheme == "https"
        description = base
    }

    /// A Unix socket, or a loopback address; of names only `localhost`.
    package var isOnThisMachine: Bool {
        guard let host else { return true }
        return host == "localhost" || host == "::1" || host.hasPrefix("127.")
    }

    func url(_ path: String) -> String { "\(base)/\(path)" }

    private static func socketPath(_ text: String) -> String? {
        if text.hasPrefix("unix:") {
            let path = text.dropFirst(5)
            return String(path.hasPrefix("//") ? path.dropFirst(2) : path)
        }
        guard text.hasPrefix("http+unix://") else { return nil }
        return URLComponents(string: text)?.host ?? ""
    }

    private static func percentEncoded(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var encoded: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e: encoded.append(byte)
            default: encoded += [0x25, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: encoded, as: UTF8.self)
    }
}
