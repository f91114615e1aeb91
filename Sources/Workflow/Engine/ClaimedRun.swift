/// A run that nobody executes and that this process holds, for garbage collection.
///
/// While it is held no process can resume it.
public struct ClaimedRun: Sendable {
    /// The run as it was when it was claimed.
    public let record: RunRecord
    /// The ledger entries of the run, all generations, oldest first.
    public let resources: [ResourceRecord]

    let write: @Sendable ([RunWrite]) async throws -> Void

    /// Records that the resource has ended. A later resume begins the next generation if a step still needs one.
    public func markReleased(_ resource: ResourceRecord) async throws {
        try await mark(resource, .released)
    }

    /// Records that the resource was found lost.
    public func markLost(_ resource: ResourceRecord) async throws {
        try await mark(resource, .lost)
    }

    /// Ends the run as cancelled without executing it, for a run that no program can resume any more.
    ///
    /// Entries of the ledger stay as they are.
    public func markCancelled(reason: String) async throws {
        let failure = Failure(kind: .cancelled, type: "ClaimedRun", message: reason, step: nil, payload: nil)
        try await write([
            .finish(.cancelled, output: nil, failure: failure),
            .event(NewEvent("run.cancelled", payload: failure)),
        ])
    }

    private func mark(_ resource: ResourceRecord, _ state: ResourceRecord.State) async throws {
        guard resource.runID == record.id else {
            throw WorkflowError(.unknownRun, "ledger entry \(resource.key.idempotencyKey) is not of run \(record.id)")
        }
        try await write([
            .resourceState(key: resource.key.idempotencyKey, from: [.intended, .held, .releasing], to: state),
            .event(NewEvent("resource.\(state.rawValue)", name: resource.name, payload: ["by": "garbage collection"])),
        ])
    }
}
