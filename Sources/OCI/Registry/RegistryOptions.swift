/// How to talk to registries. Every wait has a limit, every retry a count.
package struct RegistryOptions: Sendable {
    /// Hosts (`host` or `host:port`) that are spoken to without TLS. Loopback hosts always are, unless in `tlsHosts`.
    package var plainHTTPHosts: Set<String> = []
    /// Hosts that are spoken to with TLS although they are loopback hosts.
    package var tlsHosts: Set<String> = []
    /// Registries that are asked before another one, in order.
    package var mirrors: [RegistryMirror] = []
    /// A PEM file of certificates that are trusted besides the system's.
    package var caFile: String?
    /// `https_proxy`, `http_proxy`, `no_proxy` and so on are read from here; nil means no proxy at all.
    package var proxyEnvironment: [String: String]?
    package var userAgent = "snapwf"
    package var timeouts = RegistryTimeouts()
    package var retries = RetryPolicy()
    package var documents = DocumentLimits()
    /// Bytes of a blob that may wait in memory for its reader.
    package var blobWindow = 4 << 20

    package init() {}
}

/// Limits of waiting.
package struct RegistryTimeouts: Sendable {
    /// To connect, TLS included.
    package var connect: Duration = .seconds(15)
    /// Until the head of an answer, redirects not included.
    package var head: Duration = .seconds(60)
    /// Between two pieces of an answer.
    package var stall: Duration = .seconds(60)
    /// For a whole manifest, config or token.
    package var document: Duration = .seconds(180)
    /// For a whole blob, resumed transfers and a slow reader included.
    package var blob: Duration = .seconds(6 * 3600)

    package init() {}
}
