public import Logging

/// A run, seen by its workflow: the way to take steps, own resources and sleep.
///
/// It may be used from concurrent child tasks. Names of steps, sleeps and resources are unique in a run; a loop indexes
/// them (`"layer[3]"`). It is of no use after the workflow has returned, nor that of a resource after its scope was left:
/// then everything throws ``WorkflowError/Code/outsideRun`` or ``WorkflowError/Code/outsideScope``.
public struct RunContext: Sendable {
    /// The run.
    public let id: RunID
    /// The engine's logger with the run's id in its metadata.
    public let logger: Logger

    let execution: RunExecution
    let scope: Scope

    init(execution: RunExecution, scope: Scope) {
        self.id = execution.id
        self.logger = execution.logger
        self.execution = execution
        self.scope = scope
    }

    /// Whether the run owned something when this process took it up: a resource that was not released.
    package var ownedSomething: Bool { execution.recordedResources.contains { $0.state.isOpen } }

    /// Takes a named step: runs `body` unless an earlier process recorded its output, and records what it returned.
    ///
    /// The intent is on disk before `body` starts. The output is on disk before the next effect of this run starts, and
    /// before ``RunHandle/result()`` answers.
    ///
    /// - Parameters:
    ///   - name: unique in the run, 1 to 200 bytes without control characters.
    ///   - input: what the step depends on; a recorded step whose input differs stops the run with
    ///     ``WorkflowError/Code/stepInputChanged``. Never a secret: it is stored.
    ///   - retry: how failed attempts are repeated.
    ///   - timeout: how long one attempt may take; its task is then cancelled and a late result is discarded.
    ///   - heartbeat: how long one attempt may go on without a ``StepContext/report(_:)`` before it is given up as at
    ///     its timeout.
    ///   - inDoubt: what happens after an intent without an outcome.
    ///   - body: the effect. It runs in a task of its own that is cancelled on timeout, interruption and cancellation.
    /// - Throws: ``StepFailure`` when the step failed for good, the same in the process where it happened and in later
    ///   ones; ``WorkflowError`` when the run cannot go on.
    @discardableResult
    public func step<Output: Codable & Sendable>(
        _ name: String,
        input: (any Encodable & Sendable)? = nil,
        retry: RetryPolicy = .default,
        timeout: Duration? = nil,
        heartbeat: Duration? = nil,
        inDoubt: InDoubtPolicy<Output> = .retry,
        _ body: @escaping @Sendable (StepContext) async throws -> Output
    ) async throws -> Output {
        let execution = execution
        let erase: @Sendable (Output) throws -> StepOutput = { value in
            StepOutput(text: try execution.encode(value, what: "the output of step '\(name)'"), value: value)
        }
        let step = StepDefinition(
            name: name, input: input, retry: retry, timeout: timeout, heartbeat: heartbeat,
            inDoubt: inDoubt.map(erase))
        let output = try await StepExecution(step: step, scope: scope, execution: execution)
            .output { try erase(try await body($0)) }
        if let value = output.value as? Output { return value }
        return try execution.decode(output.text, ofStep: name)
    }

    /// Takes a named step that returns nothing. See ``step(_:input:retry:timeout:heartbeat:inDoubt:_:)``.
    public func step(
        _ name: String,
        input: (any Encodable & Sendable)? = nil,
        retry: RetryPolicy = .default,
        timeout: Duration? = nil,
        heartbeat: Duration? = nil,
        _ body: @escaping @Sendable (StepContext) async throws -> Void
    ) async throws {
        _ = try await step(name, input: input, retry: retry, timeout: timeout, heartbeat: heartbeat) {
            context -> Done in
            try await body(context)
            return Done()
        }
    }

    /// Owns `resource` while `body` runs.
    ///
    /// Entering looks in the ledger, then outside, for what an earlier attempt may have made: none is created, one is
    /// adopted, of several the oldest healthy one is adopted and the others are released. Leaving, by return, error or
    /// cancellation, releases it durably. An interruption releases nothing: the run will come back.
    ///
    /// A resource found lost begins a new generation: `body` runs again with a new handle, and the steps it takes
    /// through its `RunContext` are taken again.
    ///
    /// - Parameters:
    ///   - resource: how to find, create, ask and release it.
    ///   - name: unique in the run, 1 to 200 bytes without control characters.
    ///   - body: gets a context for the steps that belong to this generation, and the handle.
    public func withResource<R: DurableResource, T: Sendable>(
        _ resource: R, named name: String, _ body: (RunContext, R.Handle) async throws -> T
    ) async throws -> T {
        try await ResourceScope(resource: resource, name: name, outer: scope, execution: execution).value(of: body)
    }

    /// Sleeps durably: the due time is recorded once, and a resumed run waits only for what is left of it. A duration
    /// of zero or less is over at once.
    public func sleep(_ name: String, for duration: Duration) async throws {
        try await SleepExecution(name: name, duration: duration, scope: scope, execution: execution).sleep()
    }

    /// Appends an application event to the run's log. A resumed run that emits the same again adds nothing.
    ///
    /// - Parameters:
    ///   - kind: what happened, 1 to 100 bytes; the prefixes `run.`, `step.`, `sleep.` and `resource.` are the engine's.
    ///   - payload: stored as JSON, so never a secret.
    public func emit(_ kind: String, _ payload: some Encodable & Sendable) async throws {
        try await execution.emit(kind, payload, scope: scope)
    }
}

/// The recorded output of a step that returns nothing.
struct Done: Codable, Sendable {}
