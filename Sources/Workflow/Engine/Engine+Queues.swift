public import Foundation

/// Queues, workers and signals.
extension Engine {
    /// Records a run that waits in a queue until a worker takes it. When this returns, the run is on disk.
    ///
    /// - Parameters:
    ///   - workflow: the definition; the worker that takes it has to know the same version.
    ///   - input: its input; stored, so never a secret.
    ///   - queue: 1 to 200 bytes without control characters. It need not be known.
    ///   - priority: runs with a higher one are taken first.
    ///   - labels: small facts to find the run by; never a secret. A queue may be fair between the values of one.
    ///   - dedupKey: as for ``start(_:input:dedupKey:labels:timeout:)``.
    ///   - notBefore: when a worker may take it at the earliest, by the store's clock; at once when `nil`.
    ///   - timeout: how long the run may take from now on, the time in the queue included.
    /// - Returns: a handle that waits for the end, whoever executes the run. While the run is parked it throws
    ///   ``WorkflowError/Code/interrupted``.
    public func enqueue<W: WorkflowDefinition>(
        _ workflow: W, input: W.Input, queue: String, priority: Int = 0, labels: [String: String] = [:],
        dedupKey: String? = nil, notBefore: Date? = nil, timeout: Duration? = nil
    ) async throws -> RunHandle<W.Output> {
        try await core.enqueue(
            workflow, input: input,
            place: QueuePlace(queue: queue, priority: priority, notBefore: notBefore.map(Timestamp.init)),
            dedupKey: dedupKey, labels: labels, timeout: timeout)
    }

    /// Begins to take runs from queues and to execute them.
    ///
    /// - Parameters:
    ///   - queues: which, and how many at once. What they say of all workers is set in the store.
    ///   - observe: told of each run that begins and ends here, on whatever thread that happens; it must return at once.
    ///   - workflows: made known as by ``register(_:)``. Others that the engine knows are executed too.
    public func work(
        on queues: [QueueConfiguration], observing observe: @escaping @Sendable (WorkerEvent) -> Void = { _ in },
        _ workflows: any WorkflowDefinition...
    ) async throws -> Worker {
        for workflow in workflows { try core.register(workflow) }
        return try await core.work(on: queues, observing: observe)
    }

    /// How much waits in a queue, whether or not anybody works on it.
    public func figures(ofQueue queue: String) async throws -> QueueFigures {
        QueueFigures(try await core.store.census(ofQueue: queue), knowing: core.knownWorkflows)
    }

    /// Lets workers take a parked run again: one that stopped because a step was in doubt, blocked or did not fit what was
    /// recorded. ``resume(_:)`` does so too, and executes it here.
    ///
    /// - Returns: whether it was parked.
    @discardableResult
    public func unpark(_ id: RunID) async throws -> Bool {
        try await core.store.unpark(id)
    }

    /// Sends a signal to a run, which receives it by ``RunContext/waitForSignal(_:as:)``. When this returns, it is on disk.
    ///
    /// Signals of one name are received in the order in which they were sent, each by one wait. A run may have
    /// 10 000 signals that it has not received.
    ///
    /// - Parameters:
    ///   - id: an unfinished run, whether or not somebody executes it.
    ///   - name: 1 to 200 bytes without control characters.
    ///   - payload: stored as JSON, so never a secret.
    ///   - key: a second signal with the same name and key is not sent, also after the first was received.
    /// - Returns: `false` if there is one with this name and key.
    /// - Throws: ``WorkflowError`` with `unknownRun`, `alreadyFinished` or `tooManySignals`.
    @discardableResult
    public func signal(
        _ id: RunID, _ name: String, _ payload: some Encodable & Sendable, key: String? = nil
    ) async throws -> Bool {
        try await core.signal(id, name, payload, key: key)
    }

    /// The runs that a run started, in the order in which it did.
    public func children(of id: RunID) async throws -> [RunRecord] {
        try await core.store.children(of: id)
    }
}
