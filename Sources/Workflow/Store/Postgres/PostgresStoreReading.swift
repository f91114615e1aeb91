/// A store on a server that is only read.
struct PostgresStoreReading: ReadOnlyStore, PostgresReading {
    let clock: any EngineClock
    let reader: PostgresReader

    /// Opens a store that is there, and checks that this program can read its schema.
    static func open(
        _ configuration: StoreConfiguration, _ address: PostgresAddress, clock: any EngineClock
    ) async throws -> PostgresStoreReading {
        let reader = try PostgresReader(configuration, address, for: .looking)
        do {
            let name = reader.name
            try await reader.read { try PostgresMigration.requireCurrent($0, name: name) }
        } catch {
            await reader.close()
            throw error
        }
        return PostgresStoreReading(clock: clock, reader: reader)
    }

    func stop() { reader.stop() }
    func close() async { await reader.close() }

    /// Leases need no file system.
    func checkLocks() async throws -> Bool { true }
}
