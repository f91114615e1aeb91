import Foundation

/// Reading never blocks a run: it uses a read-only connection of its own.
extension Engine {
    /// One run, or `nil` if there is none with this id.
    public func run(_ id: RunID) async throws -> RunRecord? {
        try await core.store.run(id)
    }

    /// All runs whose id begins with `prefix` (case does not matter), newest first, at most 100.
    public func find(prefix: String) async throws -> [RunRecord] {
        try await core.store.find(prefix: prefix)
    }

    /// Runs, newest first.
    public func runs(_ query: RunQuery = RunQuery()) async throws -> [RunRecord] {
        try await core.store.runs(query)
    }

    /// The recorded steps and sleeps of a run, in the order in which they first began.
    public func steps(of id: RunID) async throws -> [StepRecord] {
        try await core.store.steps(of: id)
    }

    /// The ledger entries of a run, oldest first.
    public func resources(of id: RunID) async throws -> [ResourceRecord] {
        try await core.store.resources(of: id)
    }

    /// The ledger entries of all runs in the given states, oldest first.
    public func resources(states: Set<ResourceRecord.State>) async throws -> [ResourceRecord] {
        try await core.store.resources(states: states)
    }

    /// Events of a run after the given sequence number, oldest first.
    ///
    /// - Parameters:
    ///   - id: the run.
    ///   - seq: where to go on; 0 for the beginning.
    ///   - limit: 1 to 10 000; other values are brought into that range.
    public func events(of id: RunID, after seq: Int64 = 0, limit: Int = 1000) async throws -> [EventRecord] {
        try await core.store.page(of: id, after: seq, limit: limit)
    }

    /// Reads the whole database and says what is wrong with it, at most some hundred problems; empty when it is sound.
    ///
    /// It takes seconds for every gigabyte, and this engine's other reading waits for it; runs go on.
    public func checkIntegrity() async throws -> [String] {
        try await core.store.checkIntegrity()
    }
}
