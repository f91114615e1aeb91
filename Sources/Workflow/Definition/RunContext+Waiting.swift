/// What a run waits for besides its own work.
extension RunContext {
    /// Waits for a signal and receives it: see ``Engine/signal(_:_:_:key:)``.
    ///
    /// Signals of one name are received in the order in which they were sent, each once. What was received is recorded: a
    /// resumed run receives the same again. Only one wait for a name may be under way at a time.
    public func waitForSignal<Value: Decodable & Sendable>(
        _ name: String, as type: Value.Type = Value.self
    ) async throws -> Value {
        while true {
            if let value = try await signal(name, nil, type) { return value }
        }
    }

    /// The same, but no longer than `timeout`. When that ends is recorded once.
    ///
    /// - Returns: `nil` when the time was up; a signal that comes later is for the next wait.
    public func waitForSignal<Value: Decodable & Sendable>(
        _ name: String, as type: Value.Type = Value.self, timeout: Duration
    ) async throws -> Value? {
        try await signal(name, timeout, type)
    }

    private func signal<Value: Decodable>(_ name: String, _ timeout: Duration?, _ type: Value.Type) async throws
        -> Value?
    {
        let wait = SignalWait(name: name, timeout: timeout, scope: scope, execution: execution)
        guard let payload = try await wait.payload() else { return nil }
        do {
            return try Payload.decode(type, from: payload)
        } catch {
            throw execution.halt(
                WorkflowError(
                    .invalidPayload,
                    "the payload of signal '\(name)' does not decode as \(type): resume the run with a version that "
                        + "understands it, or cancel it", cause: error))
        }
    }

    /// Starts another run in a queue, or finds the one that this run started under the name.
    ///
    /// Only the queue's workers execute it. When this run is cancelled, so is the child; when it fails, too; when it returns
    /// without waiting, the child goes on. The child's records are kept as long as this run's.
    ///
    /// - Parameters:
    ///   - name: unique in the run, 1 to 200 bytes without control characters.
    ///   - workflow: the definition of the child.
    ///   - input: its input; a recorded child whose input differs stops this run with
    ///     ``WorkflowError/Code/stepInputChanged``. Never a secret: it is stored.
    ///   - queue: where the child waits for a worker.
    ///   - priority: runs with a higher one are taken first.
    ///   - labels: small facts to find the child by; never a secret.
    ///   - timeout: how long the child may take from now on, the time in the queue included.
    public func child<W: WorkflowDefinition>(
        _ name: String, _ workflow: W.Type, input: W.Input, queue: String, priority: Int = 0,
        labels: [String: String] = [:], timeout: Duration? = nil
    ) async throws -> ChildRun<W.Output> {
        try await ChildExecution(name: name, scope: scope, execution: execution).start(
            workflow, input: input, place: QueuePlace(queue: queue, priority: priority, notBefore: nil),
            labels: labels, timeout: timeout)
    }
}
