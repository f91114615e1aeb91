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
