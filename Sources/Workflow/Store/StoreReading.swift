import Foundation

/// What can be learned from a store without the right to change it.
protocol StoreReading: Sendable {
    /// The clock that due times and records go by.
    var clock: any EngineClock { get }

    /// Whether somebody holds the run now.
    func isHeld(_ id: RunID) async -> Bool

    func run(_ id: RunID) async throws -> RunRecord?
    func runs(idPrefix: String) async throws -> [RunRecord]
    func runs(_ query: RunQuery) async throws -> [RunRecord]
    func steps(of id: RunID) async throws -> [StepRecord]
    func resources(of id: RunID) async throws -> [ResourceRecord]
    func resources(states: Set<ResourceRecord.State>) async throws -> [ResourceRecord]
    func events(of id: RunID, after seq: Int64, limit: Int) async throws -> [EventRecord]

    /// A run with its steps and resources as they were at one moment; `nil` if there is none with this id.
    func everything(of id: RunID) async throws -> RunRecords?

    /// What a person knows the store by.
    var place: String { get }

    /// Who the store is, and whether its runs are here.
    func standing() async throws -> StoreStanding

    /// How much is in the store.
    func figures() async throws -> StoreFigures

    /// How much waits in a queue: groups of runs, of which several may be of one workflow.
    func census(ofQueue queue: String) async throws -> [QueueCensus]

    /// What is wrong with the stored bytes, in words; empty when they are sound.
    func checkIntegrity() async throws -> [String]
}

/// A store that was opened to be read.
protocol ReadOnlyStore: StoreReading {
    /// Takes no more reads.
    func stop()
    /// Stops, and returns when what was asked before is answered and everything is closed.
    func close() async
    /// ``StoreReader/checkLocks()``
    func checkLocks() async throws -> Bool
}

/// A run with what is recorded about it.
struct RunRecords: Sendable {
    let run: RunRecord
    let steps: [StepRecord]
    let resources: [ResourceRecord]
}

/// The same reading, whoever asks: an engine or a ``StoreReader``.
extension StoreReading {
    func find(prefix: String) async throws -> [RunRecord] {
        let lowered = prefix.lowercased()
        guard RunID.isPrefix(lowered) else { return [] }
        return try await runs(idPrefix: lowered)
    }

    func page(of id: RunID, after seq: Int64, limit: Int) async throws -> [EventRecord] {
        try await events(of: id, after: seq, limit: min(max(limit, 1), 10_000))
    }

    func plan(_ id: RunID) async throws -> ResumePlan {
        guard let records = try await everything(of: id) else { throw WorkflowError.unknownRun(id) }
        let status = records.run.recordedStatus
        if status.isFinished { throw WorkflowError.alreadyFinished(id, status) }
        return ResumePlan(run: records.run, steps: records.steps, resources: records.resources, now: clock.now())
    }
}
