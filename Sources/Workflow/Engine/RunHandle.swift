/// A started or resumed run.
public struct RunHandle<Output: Sendable>: Sendable {
    /// The run.
    public let id: RunID

    /// The run that was found by its dedup key, as it was then; `nil` when this call started or resumed the run.
    public let existing: RunRecord?

    /// Whether the start found a run with the same dedup key instead of making one.
    public var isExisting: Bool { existing != nil }

    let awaitResult: @Sendable () async throws -> Output
    let requestCancellation: @Sendable () async throws -> Void

    /// Waits for the end of the run and answers its output, after its last commit.
    ///
    /// Cancelling the waiting task does not end the run. For a run that another process executes this looks into the
    /// store twice a second.
    ///
    /// - Throws: ``WorkflowError`` with `runFailed`, `cancelled`, `interrupted`, `takenOver`, `inDoubt`, or whatever else
    ///   stopped the run. Its ``WorkflowError/cause`` is the workflow's own error if it was thrown in this process.
    public func result() async throws -> Output {
        try await awaitResult()
    }

    /// Asks for the cancellation of the run. See ``Engine/cancel(_:)``.
    public func cancel() async throws {
        try await requestCancellation()
    }
}
