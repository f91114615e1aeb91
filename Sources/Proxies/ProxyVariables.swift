internal import FoundationEssentials

/// Which proxy the variables name that curl and Go know. A pure decision.
package struct ProxyVariables: Sendable {
    package struct Proxy: Hashable, Sendable {
        package let host: String
        package let port: Int
        /// Never printed.
        package let user: String?
        package let password: String?

        package init(host: String, port: Int, user: String? = nil, password: String? = nil) {
            self.host = host
            self.port = port
            self.user = user
            self.password = password
        }
    }

    /// A variable holds something else than an HTTP proxy. Its value may hold a password and is not repeated.
    package struct Invalid: Error, CustomStringConvertible {
        package let variable: String

        package var description: String {
            "the variable \(variable) does not name an HTTP proxy: write http://host:port (no other kind is supported)"
        }
    }

    private let environment: [String: String]

    /// - Parameter environment: nil means no proxy at all.
    package init(_ environment: [String: String]?) { self.environment = environment ?? [:] }

    /// The proxy for a server; nil means directly. Loopback hosts are never asked of a proxy.
    ///
    /// - Parameter host: in lower case; an IPv6 address with or without brackets.
    package func proxy(forHost host: String, port: Int, isEncrypted: Bool) throws(Invalid) -> Proxy? {
        let host = bare(host)
        if isLoopback(host) || isExempt(host, port) { return nil }
        let name = isEncrypted ? "https_proxy" : "http_proxy"
        guard let value = variable(name), !value.isEmpty else { return nil }
        guard let proxy = Self.parse(value) else { throw Invalid(variable: name) }
        return proxy
    }

    private func variable(_ name: String) -> String? { environment[name] ?? environment[name.uppercased()] }

    /// Each entry of NO_PROXY is `*`, a host or address, or a domain with or without a leading dot, and perhaps a port; an
    /// IPv6 address with a port is in brackets.
    private func isExempt(_ host: String, _ port: Int) -> Bool {
        (variable("no_proxy") ?? "").split(separator: ",").contains { entry in
            var domain = entry.filter { $0 != " " && $0 != "\t" }.lowercased()[...]
            if domain == "*" { return true }
            if let colon = domain.lastIndex(of: ":"),
                domain.firstIndex(of: ":") == colon || domain[..<colon].last == "]",
                let number = Int(domain[domain.index(after: colon)...])
            {
                guard number == port else { return false }
                domain = domain[..<colon]
            }
            if domain.hasPrefix("*.") { domain.removeFirst() }
            if domain.hasPrefix(".") { domain.removeFirst() }
            let name = bare(String(domain))
            return !name.isEmpty && (host == name || host.hasSuffix(".\(name)"))
        }
    }

    /// `[http://][user[:password]@]host[:port][/]`
    private static func parse(_ value: String) -> Proxy? {
        guard let parts = URLComponents(string: value.contains("://") ? value : "http://\(value)"),
            parts.scheme?.lowercased() == "http", let host = parts.host, !host.isEmpty,
            case let port = parts.port ?? 80, (1...65535).contains(port)
        else { return nil }
        return Proxy(host: bare(host), port: port, user: parts.user, password: parts.password)
    }
}

/// Whether only this machine answers there: `localhost`, names below it, and the loopback addresses (RFC 6761, 6.3).
package func isLoopback(_ host: String) -> Bool {
    let host = bare(host)
    if host == "localhost" || host.hasSuffix(".localhost") || host == "::1" { return true }
    let parts = host.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
}

/// An IPv6 address without its brackets.
private func bare(_ host: String) -> String {
    host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
}
