/// How much is in a store.
package struct StoreFigures: Sendable, Hashable {
    /// How many runs are so; no entry where none is.
    package var runs: [RunStatus: Int] = [:]
    /// How many of the unfinished ones somebody holds now.
    package var held = 0
    /// What the rows and their indexes take, in bytes.
    package var bytes: Int64 = 0

    package init() {}

    /// Counts runs that are recorded so.
    mutating func add(_ number: Int, _ recorded: RunStatus, isHeld: Bool) {
        let isInterrupted = !recorded.isFinished && recorded != .pending && !isHeld
        runs[isInterrupted ? .interrupted : recorded, default: 0] += number
        if isHeld, !recorded.isFinished { held += number }
    }
}

/// What a server of a store says of itself.
package struct StoreServer: Sendable, Hashable {
    /// How the connection was made.
    package enum Transport: Sendable, Hashable {
        case socket
        case plain
        /// With the version of TLS, as the server names it.
        case encrypted(String)
    }

    /// Such as 15.8.
    package let version: String
    package let transport: Transport
    /// How far its clock is ahead of this machine's, in seconds, as well as one question can tell.
    package let clockAhead: Double
    /// Whether it can be written; if not, it follows another server.
    package let isPrimary: Bool
    /// How many servers follow it, and how many of them a commit waits for. Both 0 where the role may not know.
    package let standbys: Int
    package let synchronousStandbys: Int

    package init(
        version: String, transport: Transport, clockAhead: Double, isPrimary: Bool, standbys: Int,
        synchronousStandbys: Int
    ) {
        self.version = version
        self.transport = transport
        self.clockAhead = clockAhead
        self.isPrimary = isPrimary
        self.standbys = standbys
        self.synchronousStandbys = synchronousStandbys
    }

    /// Asks the server of a store, whether or not there is a store on it. Blocks no thread of the cooperative pool.
    ///
    /// - Returns: `nil` where the store is a file.
    /// - Throws: ``WorkflowError`` with `storeUnavailable`, `storeNotWritable` or `storeFailed`.
    package static func of(_ store: StoreConfiguration) async throws -> StoreServer? {
        guard case .server(let address) = store.place else { return nil }
        let reader = try PostgresReader(store, address, for: .looking)
        do {
            let server = try await reader.read { try StoreServer($0) }
            await reader.close()
            return server
        } catch {
            await reader.close()
            throw error
        }
    }
}
