/// A run that another run started.
public struct ChildRun<Output: Sendable>: Sendable {
    /// The run.
    public let id: RunID
    /// What its parent calls it.
    public let name: String

    let awaitResult: @Sendable () async throws -> Output

    /// Waits for the end of the child and answers its output. Meanwhile the parent sleeps: in its queue it takes no place.
    ///
    /// - Throws: ``ChildFailure`` when the child failed or was cancelled, the same in every process; ``WorkflowError`` when
    ///   the parent cannot go on.
    public func result() async throws -> Output {
        try await awaitResult()
    }
}

/// A child failed or was cancelled.
public struct ChildFailure: RetryClassifying, Hashable, Codable, CustomStringConvertible {
    /// What its parent calls it.
    public let child: String
    /// The child.
    public let run: RunID
    /// How it ended.
    public let status: RunStatus
    /// Why.
    public let failure: Failure

    /// A child that has ended does not end otherwise.
    public var isRetryable: Bool { false }

    /// The child, how it ended and why.
    public var description: String {
        "child '\(child)' (run \(run)) \(status == .cancelled ? "was cancelled" : "failed"): \(failure.message)"
    }
}
