/// Which store a configuration means.
extension StoreConfiguration {
    func open(clock: any EngineClock, metrics: StoreMetrics) async throws -> any WorkflowStore {
        switch place {
        case .file: try await SQLiteStore.open(self, clock: clock, metrics: metrics)
        case .server(let address): try await PostgresStore.open(self, address, clock: clock, metrics: metrics)
        }
    }

    func openForReading(clock: any EngineClock) async throws -> any ReadOnlyStore {
        switch place {
        case .file: try await SQLiteStoreReading.open(self, clock: clock)
        case .server(let address): try await PostgresStoreReading.open(self, address, clock: clock)
        }
    }
}
