import Foundation

/// What a garbage collector needs.
extension Engine {
    /// Calls `body` while holding the run, if no process holds it.
    ///
    /// The fencing number is raised, so an executor that was thought dead can write nothing. The run stays resumable.
    ///
    /// - Returns: what `body` returned, or `nil` when somebody holds the run or there is none.
    public func withAbandonedRun<T: Sendable>(
        _ id: RunID, _ body: (ClaimedRun) async throws -> T
    ) async throws -> T? {
        try await core.withAbandonedRun(id, body)
    }

    /// Deletes a finished run with everything that belongs to it. After a crash it is there whole or gone.
    ///
    /// The runs that it started go with it, at whatever remove.
    ///
    /// - Throws: ``WorkflowError`` with `unknownRun`, or `notFinished` if the run or one that it started has not ended or its
    ///   ledger still has an open entry, or if it is itself a child.
    public func deleteRun(_ id: RunID) async throws {
        if try await core.store.deleteRun(id) { return }
        guard let run = try await core.store.run(id) else { throw WorkflowError.unknownRun(id) }
        if let parent = run.parent {
            throw WorkflowError(
                .notFinished(run.status), "run \(id) is a child of run \(parent.id) and goes with that one: delete that"
            )
        }
        throw WorkflowError(
            .notFinished(run.status),
            run.recordedStatus.isFinished
                ? "run \(id) has ended, and it or a run that it started still owns something outside or works: let that end "
                    + "first"
                : "run \(id) has not ended, it is \(run.status.rawValue): cancel it first")
    }

    /// Deletes finished runs with everything that belongs to them, in small batches.
    ///
    /// A run whose ledger still has an open entry is kept until that is gone, and one that started others until they have
    /// ended and own nothing either. Those are deleted with it and never without it.
    ///
    /// - Parameters:
    ///   - age: only runs that finished longer ago than this.
    ///   - keep: the newest so many finished runs stay whatever their age.
    /// - Returns: how many runs were deleted.
    public func deleteFinishedRuns(olderThan age: Duration, keep: Int = 0) async throws -> Int {
        guard age >= .zero else {
            throw WorkflowError(
                .invalidDuration, "the age \(age) of the runs to delete is negative: give zero for all of them")
        }
        return try await core.store.deleteFinishedRuns(
            before: Timestamp(core.clock.now()).advanced(by: .zero - age), keep: max(keep, 0))
    }
}
