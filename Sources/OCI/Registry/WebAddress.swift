internal import FoundationEssentials
internal import Proxies

/// An http or https URL: what a request goes to.
struct WebAddress: Hashable, Sendable {
    /// Scheme, host and port: what credentials belong to.
    struct Origin: Hashable, Sendable, CustomStringConvertible {
        let scheme: String
        let host: String
        let port: Int

        var isEncrypted: Bool { scheme == "https" }

        var description: String {
            port == (isEncrypted ? 443 : 80) ? "\(scheme)://\(shownHost)" : "\(scheme)://\(shownHost):\(port)"
        }

        private var shownHost: String { host.contains(":") ? "[\(host)]" : host }
    }

    let text: String
    let origin: Origin
    private let path: String

    /// Parses an absolute URL, or one relative to `base`. Nil for anything but http and https with a host. User info
    /// is dropped: it would be a secret from a place that has none to give.
    init?(_ text: String, relativeTo base: WebAddress? = nil) {
        guard text.utf8.count <= 16 << 10,
            let url = URL(string: text, relativeTo: base.flatMap { URL(string: $0.text) })?.absoluteURL,
            var parts = URLComponents(url: url, resolvingAgainstBaseURL: true),
            let scheme = parts.scheme?.lowercased(), scheme == "http" || scheme == "https",
            let host = parts.host?.lowercased(), !host.isEmpty
        else { return nil }
        let port = parts.port ?? (scheme == "https" ? 443 : 80)
        guard (1...65535).contains(port) else { return nil }
        parts.user = nil
        parts.password = nil
        parts.fragment = nil
        guard let plain = parts.string else { return nil }
        self.text = plain
        path = parts.percentEncodedPath
        let bare = host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
        origin = Origin(scheme: scheme, host: bare, port: port)
    }

    /// For messages: without the query, which may carry a signature or a token.
    var redacted: String { printable("\(origin)\(path)", limit: 300) }

    /// The same address with fields added to its query.
    func adding(query: [(name: String, value: String)]) -> WebAddress? {
        guard var parts = URLComponents(string: text) else { return nil }
        let added = query.map { "\(percentEncoded($0.name))=\(percentEncoded($0.value))" }.joined(separator: "&")
        let old = parts.percentEncodedQuery.flatMap { $0.isEmpty ? nil : $0 + "&" } ?? ""
        parts.percentEncodedQuery = old + added
        return parts.string.flatMap { WebAddress($0) }
    }
}

/// Everything but RFC 3986's unreserved characters as %XX: right for a query and for a form.
func percentEncoded(_ text: String) -> String {
    let digits = Array("0123456789ABCDEF".utf8)
    var encoded: [UInt8] = []
    for byte in text.utf8 {
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f, 0x7e:
            encoded.append(byte)
        default:
            encoded += [0x25, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
        }
    }
    return String(decoding: encoded, as: UTF8.self)
}

extension RegistryOptions {
    /// Where a registry is spoken to. Docker Hub's registry does not live at its name.
    func address(ofRegistry host: String) -> WebAddress? {
        let actual = host == "docker.io" ? "registry-1.docker.io" : host
        return WebAddress("\(mayUsePlainHTTP(host: host) ? "http" : "https")://\(actual)/")
    }

    /// Whether secrets and images may go to this host without TLS.
    func mayUsePlainHTTP(_ origin: WebAddress.Origin) -> Bool {
        let host = origin.host.contains(":") ? "[\(origin.host)]" : origin.host
        return mayUsePlainHTTP(host: "\(host):\(origin.port)")
    }

    private func mayUsePlainHTTP(host: String) -> Bool {
        let name = hostWithoutPort(host)
        if tlsHosts.contains(host) || tlsHosts.contains(name) { return false }
        return plainHTTPHosts.contains(host) || plainHTTPHosts.contains(name) || isLoopback(name)
    }
}

/// `host` of `host:port`; brackets of an IPv6 address stay.
func hostWithoutPort(_ host: String) -> String {
    if let end = host.lastIndex(of: "]") { return String(host[...end]) }
    return host.firstIndex(of: ":").map { String(host[..<$0]) } ?? host
}
