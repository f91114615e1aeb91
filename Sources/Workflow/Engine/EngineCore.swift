import Foundation
import Glibc
import Logging
import Synchronization
import Tracing

/// What an engine consists of; shared with its executions.
final class EngineCore: Sendable {
    private struct State {
        var workflows: [String: Registered] = [:]
        var executions: [RunID: RunExecution] = [:]
        var isStopping = false
        var isSevered = false
        var isPolling = false
    }

    /// A workflow known by its name, without its types.
    struct Registered: Sendable {
        let type: any WorkflowDefinition.Type
        let version: Int
        let resume: @Sendable (EngineCore, RunID) async throws -> RunHandle<String>
        /// Executes a run that was taken from a queue.
        let execute: @Sendable (EngineCore, Claimed, RunPlace, _ deathLimit: Int) throws -> RunExecution
    }

    let store: any WorkflowStore
    let configuration: EngineConfiguration
    let metrics: RunMetrics
    let watcher: Watcher
    let spans = Spans(InstrumentationSystem.tracer)
    private let state = Mutex(State())

    init(store: any WorkflowStore, configuration: EngineConfiguration, metrics: RunMetrics) {
        self.store = store
        self.configuration = configuration
        self.metrics = metrics
        watcher = Watcher(store: store)
    }

    var clock: any EngineClock { store.clock }
    var logger: Logger { configuration.logger }

    // MARK: - Crash points

    /// Throws if the engine was cut off.
    func requireLife() throws {
        if state.withLock({ $0.isSevered }) { throw WorkflowError.severed }
    }

    /// Passes a point; throws if the engine was cut off before or there.
    func pass(_ edge: CrashPoint.Edge, _ place: @autoclosure () -> Place) throws {
        try requireLife()
        guard let probe = configuration.probe else { return }
        probe(place().point(edge))
        try requireLife()
    }

    /// What passes a point from a thread of the store; `nil` if nobody wants to know. A dead process passes none.
    func probe(_ edge: CrashPoint.Edge, _ place: @autoclosure () -> Place) -> (@Sendable () -> Void)? {
        guard let probe = configuration.probe else { return nil }
        let point = place().point(edge)
        return { [self] in
            guard !state.withLock({ $0.isSevered }) else { return }
            probe(point)
        }
    }

    func sever() {
        let executions = state.withLock { state in
            state.isSevered = true
            state.isStopping = true
            return Array(state.executions.values)
        }
        store.sever()
        for execution in executions { execution.stop(.severed) }
    }

    // MARK: - Executions

    /// Throws if nothing may be started any more.
    func requireOpen() throws {
        try requireLife()
        if state.withLock({ $0.isStopping }) {
            throw WorkflowError(.engineClosed, "the engine was interrupted or shut down, so it begins nothing more")
        }
    }

    func adopt(_ execution: RunExecution, isNew: Bool = false) throws {
        let mustPoll = try state.withLock { state in
            guard !isNew || state.executions[execution.id] == nil else {
                throw WorkflowError(.runHeld(by: owner()), "the new run id \(execution.id) is in use: start again")
            }
            guard !state.isStopping else {
                throw WorkflowError(.engineClosed, "the engine was interrupted or shut down, so it begins nothing more")
            }
            state.executions[execution.id] = execution
            defer { state.isPolling = true }
            return !state.isPolling
        }
        if mustPoll { Task { [self] in await pollForCancellations() } }
    }

    func forget(_ execution: RunExecution) {
        state.withLock { state in
            // Once it let go of the run, another execution may have come in its place.
            if state.executions[execution.id] === execution { state.executions[execution.id] = nil }
        }
    }

    func execution(_ id: RunID) -> RunExecution? {
        state.withLock { $0.executions[id] }
    }

    /// Looks for what other processes want cancelled, as long as something runs.
    private func pollForCancellations() async {
        while true {
            do {
                let interval = max(configuration.cancellationPollInterval, .milliseconds(10))
                try await store.awaitCancellationRequests(polling: interval)
                let goesOn = state.withLock { state in
                    if state.executions.isEmpty || state.isSevered { state.isPolling = false }
                    return state.isPolling
                }
                guard goesOn else { return }
                for id in try await store.cancellationRequests() { execution(id)?.cancel() }
            } catch {
                // The next round asks again; a store that stays broken stops the runs by their own writes.
                logger.debug("could not look for cancellations", metadata: ["error": "\(error)"])
            }
        }
    }

    func interrupt() async {
        let executions = state.withLock { state in
            state.isStopping = true
            return Array(state.executions.values)
        }
        for execution in executions { execution.stop(.interrupted) }
        // A workflow that neither takes a step nor ends is left behind: its lock goes with the process.
        let patience = configuration.cancellationGrace * 2
        for execution in executions {
            let ended = Attempt<Void>(grace: .zero)
            _ = await ended.run(
                until: Timestamp(SystemClock().now()).advanced(by: patience), clock: SystemClock()
            ) { _ = await execution.outcome.value() }
        }
    }

    func shutdown() async {
        await interrupt()
        await store.close()
    }

    // MARK: - Registry

    func register<W: WorkflowDefinition>(_ workflow: W) throws {
        try Names.check(W.name, what: "workflow")
        // The core is handed in: if the registry held it, neither would ever be freed.
        let registered = Registered(
            type: W.self, version: W.version, resume: { core, id in try await core.resume(id, as: workflow) { $0 } },
            execute: { core, claimed, place, deathLimit in
                try core.execute(claimed, workflow, place: place, deathLimit: deathLimit)
            })
        let isNew = state.withLock { state in
            if let other = state.workflows[W.name], other.type != W.self { return false }
            state.workflows[W.name] = registered
            return true
        }
        guard isNew else {
            throw WorkflowError(
                .duplicateName, "the workflow name '\(W.name)' is registered twice: give every workflow its own")
        }
    }

    /// What this engine can execute.
    var knownWorkflows: [KnownWorkflow] {
        state.withLock { state in
            state.workflows.map { KnownWorkflow(name: $0.key, version: $0.value.version) }.sorted { $0.name < $1.name }
        }
    }

    func registered(_ name: String) -> Registered? {
        state.withLock { $0.workflows[name] }
    }

    // MARK: - Payloads

    func encode(_ value: any Encodable, what: @autoclosure () -> String) throws -> String {
        let text: String
        do {
            text = try Payload.encode(value)
        } catch {
            throw WorkflowError(.invalidPayload, "\(what()) cannot be encoded as JSON", cause: error)
        }
        let size = text.utf8.count
        guard size <= configuration.payloadLimit else {
            throw WorkflowError(
                .payloadTooLarge,
                "\(what()) has \(size) bytes of JSON and may have \(configuration.payloadLimit): keep large things in "
                    + "a file or an object store, and record where")
        }
        return text
    }

    /// The kernel's name of this host; no name service is asked.
    private static let host: String = {
        var buffer = [CChar](repeating: 0, count: 256)
        guard gethostname(&buffer, buffer.count - 1) == 0 else { return "unknown" }
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }()

    func owner() -> RunOwner {
        RunOwner(
            description: configuration.ownerDescription, pid: getpid(), host: Self.host,
            since: Timestamp(clock.now()).date)
    }
}

/// A commit or an effect, as its crash points are called.
struct Place: Sendable {
    let subject: String
    let moment: String

    static let create = Place(subject: "run", moment: "create")
    static let claim = Place(subject: "run", moment: "claim")
    static let finish = Place(subject: "run", moment: "finish")
    static let status = Place(subject: "run", moment: "status")
    static let rest = Place(subject: "run", moment: "rest")

    static func step(_ name: String, _ moment: String) -> Place { Place(subject: "step:\(name)", moment: moment) }
    static func sleep(_ name: String, _ moment: String) -> Place { Place(subject: "sleep:\(name)", moment: moment) }

    static func signal(_ name: String, _ moment: String) -> Place { Place(subject: "signal:\(name)", moment: moment) }
    static func child(_ name: String, _ moment: String) -> Place { Place(subject: "child:\(name)", moment: moment) }

    /// - Parameter call: such as `create`.
    static func resource(_ name: String, _ call: String, _ moment: String) -> Place {
        Place(subject: "resource:\(name):\(call)", moment: moment)
    }

    static func event(_ kind: String) -> Place { Place(subject: "event:\(kind)", moment: "emit") }

    func point(_ edge: CrashPoint.Edge) -> CrashPoint { CrashPoint(subject: subject, moment: moment, edge: edge) }
}
