import Foundation

extension EngineCore {
    /// A run that can be recorded.
    ///
    /// - Throws: ``WorkflowError`` for a name, a key, a timeout or a payload that the store does not take, and where the
    ///   engine is closed.
    func newRun<W: WorkflowDefinition>(
        _ workflow: W.Type, _ input: W.Input, dedupKey: String?, labels: [String: String], timeout: Duration?
    ) throws -> NewRun {
        try requireOpen()
        try Names.check(W.name, what: "workflow")
        if let dedupKey { try Names.check(dedupKey, what: "dedup key") }
        try Limits.check(timeout, what: "the timeout of the run")
        let text = try encode(input, what: "the input of workflow '\(W.name)'")
        _ = try encode(labels, what: "the labels of the run")
        return NewRun(
            id: configuration.makeRunID(clock.now()), workflow: W.name, version: W.version, input: text,
            inputHash: Payload.hash(text), dedupKey: dedupKey, labels: labels,
            deadlineAt: timeout.map { Timestamp(clock.now()).advanced(by: $0) }, during: probe(.during, .create))
    }

    func start<W: WorkflowDefinition>(
        _ workflow: W, input: W.Input, dedupKey: String?, labels: [String: String], timeout: Duration?
    ) async throws -> RunHandle<W.Output> {
        let run = try newRun(W.self, input, dedupKey: dedupKey, labels: labels, timeout: timeout)
        let execution = RunExecution(
            id: run.id, workflow: W.name, epoch: 1, deadline: run.deadlineAt, core: self, isMade: run.isMade)
        try pass(.before, .create)
        // Without a dedup key nothing can stand in the way: the workflow begins at once and its first intent takes the
        // run's row along into one commit. With one, nothing of the workflow may run before the key is ours.
        let isAlone = dedupKey == nil
        if isAlone { try adopt(execution, isNew: true) }
        let promise = Promise<Result<Creation, any Error>>()
        store.create(run, owner: owner(), urgency: isAlone ? .withNext : .now) { result in
            switch result {
            case .success(.created(let claim)): execution.hold(claim)
            case .success(.existing): break
            case .failure(let error): _ = execution.fail(error)
            }
            promise.fulfil(result)
        }
        if isAlone { begin(execution, workflow, input) }
        switch try await promise.value().get() {
        case .existing(let record):
            return existing(record, as: W.self)
        case .created(let claim):
            do {
                try pass(.after, .create)
                if !isAlone {
                    try adopt(execution, isNew: true)
                    begin(execution, workflow, input)
                }
            } catch {
                // The run is on disk and nobody executes it: it can be resumed.
                await store.relinquish(claim, isOver: false)
                throw error
            }
            return handle(execution, decode: decoder(W.self))
        }
    }

    func resume<W: WorkflowDefinition>(_ id: RunID, as workflow: W) async throws -> RunHandle<W.Output> {
        try await resume(id, as: workflow, decode: decoder(W.self))
    }

    func resume(_ id: RunID) async throws -> RunHandle<String> {
        guard let record = try await store.run(id) else { throw WorkflowError.unknownRun(id) }
        guard let registered = registered(record.workflow) else {
            throw WorkflowError(
                .unknownWorkflow,
                "run \(id) is of workflow '\(record.workflow)', which this program does not have: resume it with the "
                    + "program that started it")
        }
        return try await registered.resume(self, id)
    }

    func resume<W: WorkflowDefinition, Output: Sendable>(
        _ id: RunID, as workflow: W, decode: @escaping @Sendable (String) throws -> Output
    ) async throws -> RunHandle<Output> {
        try requireOpen()
        guard let record = try await store.run(id) else { throw WorkflowError.unknownRun(id) }
        if record.recordedStatus.isFinished { throw WorkflowError.alreadyFinished(id, record.recordedStatus) }
        let input = try check(record, W.self)
        try pass(.before, .claim)
        let claimed = try await claim(id, purpose: .execution)
        let execution = execution(of: claimed, W.self)
        do {
            try pass(.after, .claim)
            if claimed.record.cancelRequestedAt != nil { execution.cancel() }
            try adopt(execution)
            begin(execution, workflow, input)
        } catch {
            await store.relinquish(claimed.claim, isOver: false)
            throw error
        }
        return handle(execution, decode: decode)
    }

    private func execution<W: WorkflowDefinition>(
        of claimed: Claimed, _ workflow: W.Type, place: RunPlace? = nil
    ) -> RunExecution {
        let execution = RunExecution(
            id: claimed.record.id, workflow: W.name, epoch: claimed.claim.epoch,
            deadline: claimed.record.deadlineAt.map(Timestamp.init), core: self, steps: claimed.steps,
            resources: claimed.resources, place: place, isQueued: claimed.record.queueing != nil)
        execution.hold(claimed.claim)
        return execution
    }

    /// Executes a run that was taken from a queue.
    func execute<W: WorkflowDefinition>(
        _ claimed: Claimed, _ workflow: W, place: RunPlace, deathLimit: Int
    ) throws -> RunExecution {
        let input = try check(claimed.record, W.self)
        let execution = execution(of: claimed, W.self, place: place)
        try pass(.after, .claim)
        if claimed.record.cancelRequestedAt != nil { execution.cancel() }
        if let deaths = claimed.record.queueing?.deaths, deaths > deathLimit {
            execution.cancel(.diedTooOften(claimed.record.id, deaths))
        }
        try adopt(execution)
        begin(execution, workflow, input)
        return execution
    }

    private func begin<W: WorkflowDefinition>(_ execution: RunExecution, _ workflow: W, _ input: W.Input) {
        execution.begin { [self] context in
            let output = try await workflow.run(input, in: context)
            return try encode(output, what: "the output of workflow '\(W.name)'")
        }
    }

    /// Whether the recorded run is one of this workflow, and its input.
    private func check<W: WorkflowDefinition>(_ record: RunRecord, _ workflow: W.Type) throws -> W.Input {
        let isSame = record.workflow == W.name && record.version == W.version
        // A run that only has to be cancelled may be carried out by another version: it replays and releases.
        guard isSame || (record.workflow == W.name && record.cancelRequestedAt != nil) else {
            throw WorkflowError(
                .versionMismatch,
                "run \(record.id) was recorded by workflow '\(record.workflow)' version \(record.version), and this is "
                    + "'\(W.name)' version \(W.version): resume it with the version that started it, or cancel it")
        }
        let hash = Payload.hash(record.input)
        guard hash == record.inputHash else {
            throw WorkflowError(
                .inputMismatch,
                "the stored input of run \(record.id) was changed: its hash is \(hash) and \(record.inputHash) was "
                    + "recorded; start a new run")
        }
        do {
            return try Payload.decode(W.Input.self, from: record.input)
        } catch {
            throw WorkflowError(
                .inputMismatch,
                "the stored input of run \(record.id) does not decode as \(W.Input.self): resume it with the version "
                    + "that started it", cause: error)
        }
    }

    func claim(_ id: RunID, purpose: ClaimPurpose) async throws -> Claimed {
        let during = purpose == .execution ? probe(.during, .claim) : nil
        switch try await store.claim(id, owner: owner(), purpose: purpose, during: during) {
        case .claimed(let claimed): return claimed
        case .unknown: throw WorkflowError.unknownRun(id)
        case .finished(let status): throw WorkflowError.alreadyFinished(id, status)
        case .held(let owner):
            let holder = owner.map { "\($0.description), process \($0.pid) on \($0.host), since \($0.since)" }
            throw WorkflowError(
                .runHeld(by: owner),
                "run \(id) is held by \(holder ?? "another process"): wait for it, cancel the run, or end that process")
        }
    }

    // MARK: - Handles

    func decoder<W: WorkflowDefinition>(_ workflow: W.Type) -> @Sendable (String) throws -> W.Output {
        { text in
            do {
                return try Payload.decode(W.Output.self, from: text)
            } catch {
                throw WorkflowError(
                    .invalidPayload,
                    "the recorded output of the run does not decode as \(W.Output.self): use the version that recorded "
                        + "it", cause: error)
            }
        }
    }

    private func handle<Output: Sendable>(
        _ execution: RunExecution, decode: @escaping @Sendable (String) throws -> Output
    ) -> RunHandle<Output> {
        RunHandle(id: execution.id, existing: nil) {
            try await execution.outcome.value().output(of: execution.id, decode)
        } requestCancellation: { [self] in
            _ = try await cancel(execution.id)
        }
    }

    private func existing<W: WorkflowDefinition>(_ record: RunRecord, as workflow: W.Type) -> RunHandle<W.Output> {
        let decode = decoder(W.self)
        return RunHandle(id: record.id, existing: record) { [self] in
            if let execution = execution(record.id) {
                return try await execution.outcome.value().output(of: record.id, decode)
            }
            return try await watch(record.id).output(of: record.id, decode)
        } requestCancellation: { [self] in
            _ = try await cancel(record.id)
        }
    }

    /// A handle of a run that a worker executes, here or elsewhere.
    func queuedHandle<W: WorkflowDefinition>(
        _ id: RunID, existing: RunRecord?, as workflow: W.Type
    ) -> RunHandle<W.Output> {
        let decode = decoder(W.self)
        return RunHandle(id: id, existing: existing) { [self] in
            try await outcome(of: id).output(of: id, decode)
        } requestCancellation: { [self] in
            _ = try await cancel(id)
        }
    }

    /// Waits for the end of a queued run, or until no worker will take it any more.
    private func outcome(of id: RunID) async throws -> RunOutcome {
        while true {
            if let execution = execution(id) {
                let outcome = await execution.outcome.value()
                if case .stopped = outcome {} else { return outcome }
            }
            guard let record = try await store.run(id) else { throw WorkflowError.unknownRun(id) }
            if record.recordedStatus.isFinished { return try await watch(id) }
            if record.queueing?.isParked == true {
                return .stopped(
                    WorkflowError(
                        .interrupted,
                        "run \(id) is parked, because no worker could go on with it: its log says why; deal with that, "
                            + "then unpark it"))
            }
            try requireLife()
            let end = Attempt<Watcher.Finding>(grace: .zero)
            let ending = await end.run(
                until: Timestamp(SystemClock().now()).advanced(by: .seconds(1)), clock: SystemClock()
            ) { [watcher] in try await watcher.wait(for: .end(id)) }
            if case .threw(let error) = ending { throw error }
        }
    }

    /// Waits for the end of a run that another process executes.
    private func watch(_ id: RunID) async throws -> RunOutcome {
        while true {
            guard let record = try await store.run(id) else { throw WorkflowError.unknownRun(id) }
            switch record.status {
            case .succeeded: return .succeeded(record.output ?? "null")
            case .failed:
                let failure = record.failure ?? .unrecorded(nil)
                return .failed(failure, cause: nil)
            case .cancelled: return .cancelled(cause: nil)
            case .interrupted where record.queueing?.isParked == false:
                // A worker will take it.
                try await Task.sleep(for: .milliseconds(200), clock: .continuous)
            case .interrupted:
                return .stopped(
                    WorkflowError(.interrupted, "run \(id) is not finished and nobody executes it: resume it"))
            case .pending, .running, .sleeping:
                try await Task.sleep(for: .milliseconds(500), clock: .continuous)
            }
        }
    }
}

extension RunOutcome {
    fileprivate func output<Output>(of id: RunID, _ decode: (String) throws -> Output) throws -> Output {
        switch self {
        case .succeeded(let text): return try decode(text)
        case .failed(let failure, let cause):
            throw WorkflowError(
                .runFailed(failure), "run \(id) failed: \(failure.message)", cause: cause)
        case .cancelled(let cause):
            throw WorkflowError(.cancelled, "run \(id) was cancelled", cause: cause)
        case .stopped(let reason): throw reason
        }
    }
}
