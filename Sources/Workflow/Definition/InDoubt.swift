/// What happens to a step that was intended and whose outcome is unknown, because the process died in between, the
/// attempt met its timeout, or it failed with an error that says so (``RetryClassifying/isInDoubt``).
public enum InDoubtPolicy<Output: Sendable>: Sendable {
    /// The step is declared idempotent: it is simply run again.
    case retry
    /// The run is held with ``WorkflowError/Code/inDoubt(step:)`` until ``Engine/decide(_:step:_:)`` says what happened.
    case ask
    /// The step finds out by itself. The context is that of the attempt in doubt.
    ///
    /// Whatever the closure throws is retried by the step's retry policy; then the run is held as with `ask`.
    case verify(@Sendable (StepContext) async throws -> InDoubtVerdict<Output>)
}

/// What a verification found out about an attempt in doubt.
public enum InDoubtVerdict<Output: Sendable>: Sendable {
    /// The effect happened, and this is its output.
    case done(Output)
    /// The effect did not happen: run the step.
    case notDone
    /// Nobody can tell: hold the run for the operator.
    case unknown
}

/// The operator's answer about a step in doubt.
public enum InDoubtDecision: Sendable, Hashable {
    /// The effect did not happen, or may happen twice: run the step again.
    case runAgain
    /// The effect happened. The output is JSON text that must decode as the step's output.
    case done(output: String)
    /// The step failed for good, for the given reason.
    case failed(reason: String)
}
