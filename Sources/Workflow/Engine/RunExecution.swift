import Foundation
import Logging
import Synchronization

/// How a run ended in this process.
enum RunOutcome: Sendable {
    case succeeded(String)
    case failed(Failure, cause: (any Error)?)
    case cancelled(cause: (any Error)?)
    /// Not over: it can be resumed, or somebody else has it.
    case stopped(WorkflowError)
}

/// One run, executed by this process under one epoch. Everything that its steps, sleeps and scopes share.
final class RunExecution: Sendable {
    private struct State {
        var phase = RunPhase.running
        /// Whether the workflow returned or threw, and was not stopped before.
        var isOver = false
        var main: Task<Void, Never>?
        var claim: (any RunClaim)?
        var cancellers: [Int: Canceller] = [:]
        var nextCanceller = 0
        /// What the run started, once somebody asked.
        var children: [String: RunRecord]?
        /// How often each signal was waited for in each generation, and which are waited for now.
        var signalWaits: [String: Int] = [:]
        var awaitedSignals: Set<String> = []
        /// Names of steps and resources in use, with the scope that they were used in.
        var names: [UsedName: String] = [:]
        var activity = Activity()
        var emitted: [String: Int] = [:]
    }

    /// What a name names. Steps and sleeps share their names.
    enum NameKind: String {
        case step
        case resource
        case child
    }

    private struct UsedName: Hashable {
        let kind: NameKind
        let name: String
    }

    private struct Canceller {
        /// Whether only an interruption may cancel it: releases go on when the run is cancelled.
        let isShielded: Bool
        let cancel: @Sendable () -> Void
    }

    let id: RunID
    let workflow: String
    let epoch: Int
    let deadline: Timestamp?
    let core: EngineCore
    let logger: Logger
    let outcome = Promise<RunOutcome>()
    /// What earlier processes recorded.
    let recordedSteps: [String: StepRecord]
    let recordedResources: [ResourceRecord]
    /// Of a run that begins while it is being recorded: whether that worked.
    private let isMade: Slot<Bool>?
    /// Of a run that a worker took from a queue.
    let place: RunPlace?
    /// Whether workers take the run when this execution leaves it.
    let isQueued: Bool
    private let state = Mutex(State())

    init(
        id: RunID, workflow: String, epoch: Int, deadline: Timestamp?, core: EngineCore, steps: [StepRecord] = [],
        resources: [ResourceRecord] = [], isMade: Slot<Bool>? = nil, place: RunPlace? = nil,
        isQueued: Bool = false
    ) {
        self.isQueued = isQueued
        self.isMade = isMade
        self.place = place
        self.id = id
        self.workflow = workflow
        self.epoch = epoch
        self.deadline = deadline
        self.core = core
        var logger = core.configuration.logger
        logger[metadataKey: "run"] = "\(id)"
        self.logger = logger
        recordedSteps = Dictionary(steps.map { ($0.name, $0) }) { _, last in last }
        recordedResources = resources
    }

    var clock: any EngineClock { core.clock }
    var now: Timestamp { Timestamp(core.clock.now()) }
    var phase: RunPhase { state.withLock { $0.phase } }
    var isOver: Bool { state.withLock { $0.isOver } }

    // MARK: - Life

    /// Executes the workflow. `work` returns the output as JSON.
    func begin(_ work: @escaping @Sendable (RunContext) async throws -> String) {
        expireIfDue()
        let task = Task { [self] in
            let timer = deadlineTimer()
            defer { timer?.cancel() }
            let began = ContinuousClock.now
            core.metrics.runBegan()
            let outcome = await core.spans.run(id, of: workflow, epoch: epoch) {
                let result: Result<String, any Error>
                do {
                    result = .success(try await work(RunContext(execution: self, scope: Scope())))
                } catch {
                    result = .failure(error)
                }
                endWork()
                return await conclude(result)
            }
            core.metrics.runEnded(workflow, outcome: outcome.name, since: began)
            core.forget(self)
            self.outcome.fulfil(outcome)
        }
        let isTooLate = state.withLock { state in
            state.main = task
            if case .running = state.phase { return false }
            return true
        }
        if isTooLate { task.cancel() }
    }

    func hold(_ claim: any RunClaim) {
        state.withLock { $0.claim = claim }
        claim.whenLost { [weak self] reason in self?.stop(reason) }
    }

    /// Somebody wants the run cancelled: running bodies are, releases are not.
    func cancel(_ reason: WorkflowError = .cancelled) {
        let tasks = state.withLock { state -> (Task<Void, Never>?, [Canceller]) in
            guard state.phase.cancel(reason) else { return (nil, []) }
            return (state.main, state.cancellers.values.filter { !$0.isShielded })
        }
        tasks.0?.cancel()
        for canceller in tasks.1 { canceller.cancel() }
    }

    /// The run cannot go on in this process: everything is cancelled and nothing is released.
    func stop(_ reason: WorkflowError) {
        let tasks = state.withLock { state -> (Task<Void, Never>?, [Canceller]) in
            guard state.phase.stop(reason) else { return (nil, []) }
            return (state.main, Array(state.cancellers.values))
        }
        tasks.0?.cancel()
        for canceller in tasks.1 { canceller.cancel() }
    }

    /// The run has to wait for a person. A run that is being cancelled does not: it only skips what it cannot do.
    func halt(_ reason: WorkflowError) -> WorkflowError {
        if case .cancelling(let cause) = phase { return cause }
        stop(reason)
        return reason
    }

    /// From here on nothing may be begun through the run's contexts. A stopped run has its own answer to that.
    private func endWork() {
        state.withLock { state in
            if case .stopped = state.phase { return }
            state.isOver = true
        }
    }

    private func conclude(_ result: Result<String, any Error>) async -> RunOutcome {
        let outcome: RunOutcome
        switch (phase, result) {
        case (.stopped(let reason), _): return await leave(reason)
        case (_, .success(let output)): outcome = .succeeded(output)
        case (.cancelling(let reason), .failure(let error)):
            switch reason.code {
            case .deadlinePassed: outcome = .failed(Failure(deadline: reason), cause: error)
            case .diedTooOften: outcome = .failed(Failure(deaths: reason), cause: error)
            default: outcome = .cancelled(cause: error)
            }
        case (.running, .failure(let error)):
            let failure = (error as? StepFailure)?.failure ?? Failure(.error, error)
            outcome = .failed(failure, cause: error)
        }
        // Nobody waits any more for what it started.
        if !outcome.isSuccess { core.store.cancelChildren(of: id, epoch: epoch) }
        do {
            try await write(outcome.writes, at: .finish)
        } catch {
            return await leave(fail(error))
        }
        if let claim = state.withLock({ $0.claim }) { await core.store.relinquish(claim, isOver: true) }
        return outcome
    }

    /// Lets go of a run that is not over, after what its steps did is on disk.
    private func leave(_ reason: WorkflowError) async -> RunOutcome {
        do {
            if isQueued { try await rest(reason) }
            try await core.store.flush()
        } catch {
            logger.warning("the last changes of the run were not recorded", metadata: ["error": "\(error)"])
        }
        if let claim = state.withLock({ $0.claim }) { await core.store.relinquish(claim, isOver: false) }
        return .stopped(reason)
    }

    // MARK: - Permission

    /// Throws if the act may not begin.
    func require(_ act: RunPhase.Act) throws {
        try core.requireLife()
        if act == .effect {
            expireIfDue()
            state.withLock { $0.claim }?.checkTerm()
        }
        if let objection = phase.objection(to: act) { throw objection }
    }

    /// Takes a name in a scope.
    func admit(_ name: String, as kind: NameKind, in scope: Scope) throws {
        try requireInside(scope, "\(kind.rawValue) '\(name)'")
        try require(.replay)
        try Names.check(name, what: kind.rawValue)
        let isNew = state.withLock { state in
            state.names.updateValue(scope.path, forKey: UsedName(kind: kind, name: name)) == nil
        }
        guard isNew else {
            throw WorkflowError(
                .duplicateName,
                "the \(kind.rawValue) name '\(name)' is used twice in run \(id): give every \(kind.rawValue) its own, "
                    + "in a loop an index")
        }
    }

    /// Frees the names used in a generation that is over.
    func forgetNames(in path: String) {
        state.withLock { state in
            state.names = state.names.filter { $0.value != path && !$0.value.hasPrefix(path + "/") }
            state.signalWaits = state.signalWaits.filter { !$0.key.hasPrefix(path) }
        }
    }

    // MARK: - Calls of code outside

    /// Calls code outside the engine, between two crash points, so that cancellation and interruption reach it.
    ///
    /// - Parameter isShielded: whether only an interruption may cancel it.
    func effect<T: Sendable>(
        at place: @autoclosure () -> Place, until deadline: Timestamp? = nil, heartbeat: Heartbeat? = nil,
        isShielded: Bool = false, _ body: @escaping @Sendable () async throws -> T
    ) async throws -> Ending<T> {
        try core.pass(.before, place())
        let ending = await call(until: deadline, heartbeat: heartbeat, isShielded: isShielded, body)
        try core.pass(.after, place())
        return ending
    }

    func call<T: Sendable>(
        until deadline: Timestamp? = nil, heartbeat: Heartbeat? = nil, isShielded: Bool = false,
        _ body: @escaping @Sendable () async throws -> T
    ) async -> Ending<T> {
        let attempt = Attempt<T>(grace: core.configuration.cancellationGrace)
        if let heartbeat { attempt.watch(heartbeat, clock) }
        let token = register(Canceller(isShielded: isShielded) { attempt.cancel() })
        defer { state.withLock { $0.cancellers[token] = nil } }
        if isShielded { return await attempt.run(until: deadline, clock: clock, body) }
        return await withTaskCancellationHandler {
            await attempt.run(until: deadline, clock: clock, body)
        } onCancel: {
            attempt.cancel()
        }
    }

    private func register(_ canceller: Canceller) -> Int {
        let (token, isTooLate) = state.withLock { state in
            let token = state.nextCanceller
            state.nextCanceller += 1
            state.cancellers[token] = canceller
            return (token, state.phase.objection(to: canceller.isShielded ? .release : .effect) != nil)
        }
        if isTooLate { canceller.cancel() }
        return token
    }

    /// Waits until the clock shows `due`.
    func pause(until due: Timestamp, isShielded: Bool = false) async throws {
        let clock = clock
        let ending = await call(isShielded: isShielded) { try await clock.sleep(until: due.date) }
        try require(isShielded ? .release : .effect)
        if case .returned = ending { return }
        throw CancellationError()
    }

    // MARK: - Writing

    /// Commits at once, together with everything enqueued before.
    func commit(_ writes: [RunWrite], at place: @autoclosure () -> Place) async throws {
        do {
            try await write(writes, at: place())
        } catch {
            if isOver { throw WorkflowError.outsideRun(id, "a step or sleep") }
            throw fail(error)
        }
        yieldPlace(writes)
        // Something enqueued before may have failed alone: then what was intended here must not happen.
        if case .stopped(let reason) = phase { throw reason }
    }

    private func write(_ writes: [RunWrite], at place: @autoclosure () -> Place) async throws {
        try core.pass(.before, place())
        try await core.store.commit(batch(writes, .now, at: place()))
        try core.pass(.after, place())
    }

    private func batch(_ writes: [RunWrite], _ urgency: WriteUrgency, at place: @autoclosure () -> Place) -> WriteBatch
    {
        WriteBatch(
            run: id, epoch: epoch, writes: writes, urgency: urgency, during: core.probe(.during, place()),
            isMade: isMade)
    }

    /// Commits with the next commit. A failure stops the run.
    ///
    /// - Parameter keepsPlace: whether a run that is said to sleep keeps its place in its queue.
    func enqueue(_ writes: [RunWrite], at place: @autoclosure () -> Place, keepsPlace: Bool = false) throws {
        try core.pass(.before, place())
        let after = core.probe(.after, place())
        core.store.submit(batch(writes, .withNext, at: place())) { [self] result in
            switch result {
            case .success: after?()
            case .failure(let error): _ = fail(error)
            }
        }
        if !keepsPlace { yieldPlace(writes) }
    }

    /// A write failed: the run cannot go on here.
    func fail(_ error: any Error) -> WorkflowError {
        let reason =
            error as? WorkflowError
            ?? WorkflowError(.storeFailed, "run \(id) could not be recorded: resume it", cause: error)
        stop(reason)
        return reason
    }

    func withActivity<T: Sendable>(_ change: (inout Activity) -> T) -> T {
        state.withLock { change(&$0.activity) }
    }

    // MARK: - Children and signals

    /// What earlier processes started, by its name.
    func children() async throws -> [String: RunRecord] {
        if let known = state.withLock({ $0.children }) { return known }
        // What nobody executed before has started nothing.
        let records = epoch > 1 ? try await core.store.children(of: id) : []
        let children = Dictionary(records.map { ($0.parent?.name ?? "", $0) }) { first, _ in first }
        return state.withLock { state in
            let known = state.children ?? children
            state.children = known
            return known
        }
    }

    /// Counts the waits for a signal in a generation.
    ///
    /// - Returns: which one this is, from 1; `nil` while another one is not over.
    func beginSignalWait(_ identity: String, name: String) -> Int? {
        state.withLock { state in
            guard state.awaitedSignals.insert(name).inserted else { return nil }
            state.signalWaits[identity, default: 0] += 1
            return state.signalWaits[identity]
        }
    }

    func endSignalWait(name: String) {
        _ = state.withLock { $0.awaitedSignals.remove(name) }
    }

    // MARK: - Payloads

    func encode(_ value: any Encodable, what: @autoclosure () -> String) throws -> String {
        try core.encode(value, what: what())
    }

    /// Reads a checkpoint; one that does not read holds the run.
    func decode<Output: Decodable>(_ text: String, ofStep name: String) throws -> Output {
        do {
            return try Payload.decode(Output.self, from: text)
        } catch {
            throw halt(
                WorkflowError(
                    .invalidPayload,
                    "the recorded output of step '\(name)' does not decode as \(Output.self): resume the run with the "
                        + "version that recorded it, or cancel it", cause: error))
        }
    }

    func emit(_ kind: String, _ payload: some Encodable, scope: Scope) async throws {
        try requireInside(scope, "event '\(kind)'")
        try require(.replay)
        try Names.checkEvent(kind)
        let text = try encode(payload, what: "the payload of event '\(kind)'")
        let identity = Payload.hash("\(scope.path)\n\(kind)\n\(text)")
        let occurrence = state.withLock { state in
            state.emitted[identity, default: 0] += 1
            return state.emitted[identity, default: 0]
        }
        let event = NewEvent(
            kind, name: scope.name.isEmpty ? nil : scope.name, json: text, dedupKey: "\(identity)#\(occurrence)")
        if core.store.isCongested {
            try await commit([.event(event)], at: .event(kind))
        } else {
            try enqueue([.event(event)], at: .event(kind))
        }
    }
}

extension RunOutcome {
    fileprivate var isSuccess: Bool {
        if case .succeeded = self { return true }
        return false
    }

    /// What is recorded at the end.
    fileprivate var writes: [RunWrite] {
        switch self {
        case .succeeded(let output):
            return [.finish(.succeeded, output: output, failure: nil), .event(NewEvent("run.succeeded"))]
        case .failed(let failure, _):
            return [
                .finish(.failed, output: nil, failure: failure), .event(NewEvent("run.failed", payload: failure)),
            ]
        case .cancelled(let cause):
            let failure = Failure(.cancelled, cause ?? WorkflowError.cancelled)
            return [
                .finish(.cancelled, output: nil, failure: failure),
                .event(NewEvent("run.cancelled", payload: failure)),
            ]
        case .stopped:
            return []
        }
    }
}
