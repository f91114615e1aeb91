internal import FoundationEssentials

/// Which proxy the variables name that curl and Go know. A pure decision.
struct ProxyVariables: Sendable {
    struct Proxy: Hashable, Sendable {
        let host: String
        let port: Int
        /// Never printed.
        var user: String?
        var password: String?
    }

    private let environment: [String: String]

    /// - Parameter environment: nil means no proxy at all.
    init(_ environment: [String: String]?) { self.environment = environment ?? [:] }

    /// The proxy for a server; nil means directly. Loopback hosts and sockets are never asked of a proxy.
    func proxy(for address: ServerAddress) throws(ConnectError) -> Proxy? {
        guard let host = address.host, !Self.isLoopback(host), !isExempt(host, address.port) else { return nil }
        let name = address.isEncrypted ? "https_proxy" : "http_proxy"
        guard let value = variable(name), !value.isEmpty else { return nil }
        guard let proxy = Self.parse(value) else {
            throw ConnectError(
                .invalidArgument,
                "the variable \(name) does not name an HTTP proxy: write http://host:port (no other kind is supported)")
        }
        return proxy
    }

    private func variable(_ name: String) -> String? { environment[name] ?? environment[name.uppercased()] }

    /// Each entry of NO_PROXY is `*`, a host, or a domain with or without a leading dot, and perhaps a port.
    private func isExempt(_ host: String, _ port: Int) -> Bool {
        (variable("no_proxy") ?? "").split(separator: ",").contains { entry in
            var domain = entry.filter { $0 != " " && $0 != "\t" }.lowercased()[...]
            if domain == "*" { return true }
            if let colon = domain.lastIndex(of: ":"), let number = Int(domain[domain.index(after: colon)...]) {
                guard number == port else { return false }
                domain = domain[..<colon]
            }
            if domain.hasPrefix("*") { domain.removeFirst() }
            if domain.hasPrefix(".") { domain.removeFirst() }
            return !domain.isEmpty && (host == domain || host.hasSuffix(".\(domain)"))
        }
    }

    /// `[http://][user[:password]@]host[:port][/]`
    private static func parse(_ value: String) -> Proxy? {
        guard let parts = URLComponents(string: value.contains("://") ? value : "http://\(value)"),
            parts.scheme?.lowercased() == "http", let host = parts.host, !host.isEmpty,
            case let port = parts.port ?? 80, (1...65535).contains(port)
        else { return nil }
        let bare = host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
        return Proxy(host: bare, port: port, user: parts.user, password: parts.password)
    }

    private static func isLoopback(_ host: String) -> Bool {
        if host == "localhost" || host.hasSuffix(".localhost") || host == "::1" { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }
}
