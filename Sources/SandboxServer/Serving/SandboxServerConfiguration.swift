package import Connect
import Glibc

/// Where and for whom sandboxes are served.
package struct SandboxServerConfiguration: Sendable {
    package var address: ConnectServerConfiguration.Address
    package var tls: ConnectServerConfiguration.TLS?
    /// Needed everywhere but on a unix socket, which only its owner can open.
    package var token: SecretToken?
    /// Callers have to name it in `x-depot-org`; `nil`: whatever they name is accepted.
    package var organization: String?
    /// Whether an address that other machines reach may be served without TLS, so that the token and everything else
    /// can be read on the way.
    package var allowsPlaintext = false
    /// What running calls get to end by themselves when the server stops. Sandboxes go on.
    package var grace: Duration = .seconds(10)
    /// What is to be done from time to time, such as removing ended sandboxes; its failure is logged.
    package var housekeeping: (@Sendable () async throws -> Void)?
    package var housekeepingInterval: Duration = .seconds(300)

    package init(address: ConnectServerConfiguration.Address) { self.address = address }

    /// Refuses what would be open by accident.
    ///
    /// - Throws: `invalidArgument`.
    package func validate() throws(ConnectError) {
        guard case .tcp(let host, let port) = address else { return }
        guard (0...65535).contains(port) else { throw ConnectError(.invalidArgument, "\(port) is no port") }
        guard token != nil else {
            throw ConnectError(
                .invalidArgument, "a TCP address needs a token: whoever reaches it could run commands here")
        }
        guard tls != nil || allowsPlaintext || Self.isLoopback(host) else {
            throw ConnectError(
                .invalidArgument,
                "\(host) can be reached from other machines, and without TLS the token could be read on the way; "
                    + "give a certificate and its key, listen on 127.0.0.1, or allow it explicitly")
        }
    }

    /// Of names only `localhost` counts: what another one means is decided elsewhere.
    static func isLoopback(_ host: String) -> Bool {
        var four = in_addr()
        if inet_pton(AF_INET, host, &four) == 1 { return UInt32(bigEndian: four.s_addr) >> 24 == 127 }
        var six = in6_addr()
        if inet_pton(AF_INET6, host, &six) == 1 {
            return withUnsafeBytes(of: six) { $0.dropLast().allSatisfy { $0 == 0 } && $0.last == 1 }
        }
        return host.lowercased() == "localhost"
    }
}
