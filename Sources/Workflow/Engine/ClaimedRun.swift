/// A run that nobody executes and that this process holds, for garbage collection.
///
/// While it is held no process can resume it.
public struct ClaimedRun: Sendable {
    /// The run as it was when it was claimed.
    public let record: RunRecord
    /// The ledger entries of the run, all generations, oldest first.
    public let resources: [ResourceRecord]

    let write: @Sendable ([RunWrite]) async throws -> Void

    /// Records that the resource is about to be ended. From then on no execution of the run uses it any more: one that comes
    /// finishes its release, and begins the next generation if a step still needs one.
    ///
    /// So whoever records this before it ends something may be stopped for any time in between: where the run was taken
    /// over meanwhile, this throws, and afterwards nobody needs what is ended.
    ///
    /// - Throws: ``WorkflowError`` with `takenOver` where the run is not held any more.
    public func markReleasing(_ resource: ResourceRecord) async throws {
        try await mark(resource, .releasing)
    }

    /// Shows that the run is still held, by a write that only its holder can make.
    ///
    /// - Throws: ``WorkflowError`` with `takenOver` where it is not.
    public func confirm(_ what: String) async throws {
        try await write([.event(NewEvent("run.collected", payload: ["what": what]))])
    }

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
