package import Connect
import Glibc
package import Logging

/// Serves a ``SandboxService`` until it is told to stop. The sandboxes go on without it.
package struct SandboxServer: Sendable {
    /// Each command takes some ten descriptors, each connection one.
    private static let wantedDescriptors: rlim_t = 65_536

    private let configuration: SandboxServerConfiguration
    private let server: ConnectServer
    private let logger: Logger

    /// - Throws: `invalidArgument` for a configuration that would be open by accident.
    package init(
        _ configuration: SandboxServerConfiguration, service: SandboxService, logger: Logger
    ) throws(ConnectError) {
        try configuration.validate()
        self.configuration = configuration
        self.logger = logger
        var connect = ConnectServerConfiguration(address: configuration.address)
        connect.tls = configuration.tls
        connect.grace = configuration.grace
        let authentication = Authentication(token: configuration.token, organization: configuration.organization)
        var router = service.router()
        router.authenticator = { try authentication.check($0) }
        server = ConnectServer(connect, router: router, logger: logger)
    }

    /// Serves until `stop` returns; then takes no new calls, lets those that run end within the grace, and cancels the
    /// rest: a command that is not detached is killed with its call.
    ///
    /// - Parameter onRunning: told where the server listens.
    /// - Throws: `ConnectError` when it cannot listen, saying why.
    package func run(
        onRunning: @escaping @Sendable (ServerAddress) async -> Void = { _ in },
        until stop: @escaping @Sendable () async -> Void
    ) async throws {
        raiseDescriptorLimit()
        try await withThrowingTaskGroup(of: Void.self) { group in
            if let housekeeping = configuration.housekeeping {
                group.addTask { try await keepHouse(housekeeping) }
            }
            defer { group.cancelAll() }
            try await server.run(onRunning: onRunning, until: stop)
        }
    }

    private func keepHouse(_ housekeeping: @Sendable () async throws -> Void) async throws {
        while !Task.isCancelled {
            do {
                try await housekeeping()
            } catch {
                logger.warning("removing what is left of ended sandboxes failed: \(error)")
            }
            do {
                try await Task.sleep(for: configuration.housekeepingInterval)
            } catch {
                return
            }
        }
    }

    /// The usual soft limit of 1024 is for programs that use select(2); up to the hard one nobody has to be asked.
    private func raiseDescriptorLimit() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
        let wanted = min(limit.rlim_max, Self.wantedDescriptors)
        guard limit.rlim_cur < wanted else { return }
        limit.rlim_cur = wanted
        if setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) != 0 {
            logger.warning("the limit of open files stays at \(limit.rlim_cur): many commands at once may fail")
        }
    }
}
