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
    /// - Throws: ``WorkflowError`` with `unknownRun`, or `notFinished` if the run has not ended or its ledger still has an
    ///   open entry.
    public func deleteRun(_ id: RunID) async throws {
        if try await core.store.deleteRun(id) { return }
        guard let run = try await core.store.run(id) else { throw WorkflowError.unknownRun(id) }
        throw WorkflowError(
            .notFinished(run.status),
            run.recordedStatus.isFinished
                ? "run \(id) has ended and still owns something outside: let the garbage collector end that first"
                : "run \(id) has not ended, it is \(run.status.rawValue): cancel it first")
    }

    /// Deletes finished runs with everything that belongs to them, in small batches.
    ///
    /// A run whose ledger still has an open entry is kept until that is gone.
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
