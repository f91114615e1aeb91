import CoreMetrics
import Foundation

/// Runs workflows and keeps them durable.
///
/// One engine a process and store is enough; several are safe. Everything that is told to a caller has been committed
/// before, and synced to the disk of the store.
public final class Engine: Sendable {
    let core: EngineCore
    /// Who the store is, as it said when it was opened.
    package let standing: StoreStanding

    /// Opens the store, makes it if it is missing, and brings its schema up to date.
    ///
    /// - Throws: ``WorkflowError`` with `storeNewerThanProgram`, `storeNotWritable`, `locksNotKept`, `storeFull`,
    ///   `storeBusy`, `storeUnavailable`, `storeMoved`, `storeCorrupt` or `storeFailed`.
    public init(store: StoreConfiguration, configuration: EngineConfiguration = .init()) async throws {
        let metrics = MetricsSystem.factory
        let opened = try await store.open(clock: configuration.clock, metrics: StoreMetrics(metrics))
        do {
            standing = try await opened.standing()
            try standing.requireOpen(opened.place)
        } catch {
            await opened.close()
            throw error
        }
        core = EngineCore(store: opened, configuration: configuration, metrics: RunMetrics(metrics))
    }

    /// Throws ``WorkflowError/Code/storeMoved`` when the store's runs are no longer there: they may have been copied to another
    /// one since it was opened.
    package func requireRunsHere() async throws {
        try await core.store.standing().requireOpen(core.store.place)
    }

    /// Makes a workflow known by its name, so that ``resume(_:)`` finds it.
    ///
    /// - Throws: ``WorkflowError/Code/duplicateName`` if another type is registered under the name.
    public func register<W: WorkflowDefinition>(_ workflow: W) throws {
        try core.register(workflow)
    }

    /// Starts a run. When this returns, the run is on disk and survives the process.
    ///
    /// - Parameters:
    ///   - workflow: the definition to execute.
    ///   - input: its input; stored, so never a secret.
    ///   - dedupKey: if an unfinished or succeeded run of the same workflow has this key, that run is returned instead
    ///     (``RunHandle/isExisting``) and nothing is started. Its input may differ: compare ``RunRecord/inputHash``.
    ///   - labels: small facts to find the run by; never a secret.
    ///   - timeout: how long the run may take from now on, in however many processes. When that has passed, running
    ///     bodies are cancelled, what the run owns is released, and it ends as failed with a ``Failure`` of the kind
    ///     `timeout`. A run found by its dedup key keeps its own deadline.
    public func start<W: WorkflowDefinition>(
        _ workflow: W, input: W.Input, dedupKey: String? = nil, labels: [String: String] = [:],
        timeout: Duration? = nil
    ) async throws -> RunHandle<W.Output> {
        try await core.start(workflow, input: input, dedupKey: dedupKey, labels: labels, timeout: timeout)
    }

    /// Takes over a run that nobody holds and executes it from its checkpoints.
    ///
    /// - Throws: ``WorkflowError`` with `unknownRun`, `runHeld`, `alreadyFinished`, `versionMismatch`, `inputMismatch`.
    public func resume<W: WorkflowDefinition>(_ id: RunID, as workflow: W) async throws -> RunHandle<W.Output> {
        try await core.resume(id, as: workflow)
    }

    /// Resumes a run by the workflow registered under its stored name. The result is the output as JSON text.
    ///
    /// - Throws: as ``resume(_:as:)``, and `unknownWorkflow`.
    public func resume(_ id: RunID) async throws -> RunHandle<String> {
        try await core.resume(id)
    }

    /// Says what a resume would do with the recorded steps and resources. It changes nothing and needs no lock.
    public func plan(_ id: RunID) async throws -> ResumePlan {
        try await core.store.plan(id)
    }

    /// Answers for a step in doubt. The run must not be held.
    ///
    /// - Throws: ``WorkflowError`` with `runHeld`, `alreadyFinished`, `unknownRun`, or `inDoubt` if the step is not in
    ///   doubt.
    public func decide(_ id: RunID, step: String, _ decision: InDoubtDecision) async throws {
        try await core.decide(id, step: step, decision)
    }

    /// Stops every run of this engine because the process is told to stop.
    ///
    /// Tasks of running bodies are cancelled; nothing is released; the rows stay resumable; handles throw
    /// ``WorkflowError/Code/interrupted``. A body that ignores cancellation is left behind after
    /// ``EngineConfiguration/cancellationGrace``. Nothing can be started or resumed afterwards; reading still works.
    public func interrupt() async {
        await core.interrupt()
    }

    /// Asks for the cancellation of a run, durably. The process that holds it sees it within a second, cancels the
    /// running bodies and releases what the run owns.
    ///
    /// - Returns: whether a process holds the run. If none does, resuming it carries the cancellation out.
    /// - Throws: ``WorkflowError`` with `unknownRun` or `alreadyFinished`.
    @discardableResult
    public func cancel(_ id: RunID) async throws -> Bool {
        try await core.cancel(id)
    }

    /// Interrupts what still runs, commits what waits, and closes the store. Safe to call twice.
    public func shutdown() async {
        await core.shutdown()
    }

    /// Throws the state of this process away as a crash would: nothing more is written, every lock is let go.
    package func sever() {
        core.sever()
    }

    /// How many transactions the writer has committed.
    package var commitCount: Int {
        core.store.commitCount
    }
}
