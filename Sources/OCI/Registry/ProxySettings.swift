/// Which proxy a request goes through, from the variables that curl and Go know. A pure decision.
struct ProxySettings: Sendable {
    struct Proxy: Hashable, Sendable {
        let host: String
        let port: Int
        /// `user:password`, when the variable holds them. Never printed.
        let userInfo: String?
    }

    private let environment: [String: String]

    /// - Parameter environment: nil means no proxy at all.
    init(environment: [String: String]?) {
        self.environment = environment ?? [:]
    }

    /// The proxy for a server; nil means directly. Loopback hosts are never asked of a proxy.
    func proxy(for origin: WebAddress.Origin) throws(OCIError) -> Proxy? {
        if isLoopback(origin.host) || isExempt(origin) { return nil }
        let name = origin.isEncrypted ? "https_proxy" : "http_proxy"
        guard let value = variable(name), !value.isEmpty else { return nil }
        guard let proxy = Self.parse(value) else {
            throw OCIError(
                .invalidConfiguration,
                "the variable \(name) does not name an HTTP proxy: write http://host:port (no other kind is supported)")
        }
        return proxy
    }

    private func variable(_ name: String) -> String? {
        environment[name] ?? environment[name.uppercased()]
    }

    /// `*`, a host, a domain with or without a leading dot, each with an optional port.
    private func isExempt(_ origin: WebAddress.Origin) -> Bool {
        (variable("no_proxy") ?? "").split(separator: ",").contains { entry in
            var pattern = entry.trimmingBlanks().lowercased()
            if pattern == "*" { return true }
            if let colon = pattern.lastIndex(of: ":"), let port = Int(pattern[pattern.index(after: colon)...]) {
                guard port == origin.port else { return false }
                pattern = String(pattern[..<colon])
            }
            let domain = pattern.hasPrefix("*.") ? String(pattern.dropFirst(1)) : pattern
            let bare = domain.hasPrefix(".") ? String(domain.dropFirst()) : domain
            return !bare.isEmpty && (origin.host == bare || origin.host.hasSuffix("." + bare))
        }
    }

    private static func parse(_ value: String) -> Proxy? {
        var rest = value[...]
        if let scheme = rest.range(of: "://") {
            guard rest[..<scheme.lowerBound].lowercased() == "http" else { return nil }
            rest = rest[scheme.upperBound...]
        }
        rest = rest.prefix { $0 != "/" }
        var userInfo: String?
        if let at = rest.lastIndex(of: "@") {
            userInfo = percentDecoded(rest[..<at])
            rest = rest[rest.index(after: at)...]
        }
        let host = hostWithoutPort(String(rest))
        let port = rest.dropFirst(host.count)
        guard !host.isEmpty, port.isEmpty || port.first == ":" else { return nil }
        guard let number = port.isEmpty ? 80 : UInt16(port.dropFirst()), number > 0 else { return nil }
        return Proxy(host: host, port: Int(number), userInfo: userInfo)
    }

    private static func percentDecoded(_ text: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            let digits = rest.prefix(2)
            if byte == UInt8(ascii: "%"), digits.count == 2,
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
            {
                bytes.append(value)
                rest = rest.dropFirst(2)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

extension Substring {
    fileprivate func range(of needle: String) -> Range<Substring.Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(needle) { return start..<index(start, offsetBy: needle.count) }
            start = index(after: start)
        }
        return nil
    }
}
