import Foundation
import Logging
import Synchronization

/// Takes runs from queues and executes them, until it is drained.
///
/// It takes runs of the workflows that its engine knows, in the version that it knows. A run whose worker died comes back:
/// on SQLite at once, on PostgreSQL when its lease has ended.
public final class Worker: Sendable {
    private struct State {
        var loops: [Task<Void, Never>] = []
        var runs: [RunID: RunExecution] = [:]
        /// How many of its queues ask the store now.
        var looks = 0
        var isDraining = false
        var done = 0
    }

    private let core: EngineCore
    private let state = Mutex(State())
    private let places: [WorkerPlaces]
    private let observe: @Sendable (WorkerEvent) -> Void
    /// Everything has ended, after a drain.
    private let idle = Promise<Void>()

    /// How often is looked for what nothing told of, such as the end of a lease.
    private static let slowPoll = Duration.seconds(1)
    /// How many runs are taken at once at most.
    private static let batch = 16

    init(core: EngineCore, queues: [QueueConfiguration], observe: @escaping @Sendable (WorkerEvent) -> Void) {
        self.core = core
        self.observe = observe
        places = queues.map { WorkerPlaces($0, news: core.store.news()) }
        let loops = zip(queues, places).map { queue, places in Task { [self] in await work(queue, places) } }
        state.withLock { $0.loops = loops }
    }

    /// The runs that it executes now, those that sleep or wait included.
    public var runs: [RunID] { state.withLock { $0.runs.keys.sorted() } }

    /// How many runs it has executed, to their end or until it let them go.
    public var executed: Int { state.withLock { $0.done } }

    /// Whether it asks the store for runs now. What it was given by then is in ``runs`` only when it no longer does.
    public var isTaking: Bool { state.withLock { $0.looks > 0 } }

    /// Why runs of one of its queues could not be taken when that was last tried; `nil` where it works.
    ///
    /// It tries again every second by itself.
    public var trouble: (any Error)? { places.lazy.compactMap(\.trouble).first }

    /// What it does for each of its queues.
    public var load: [WorkerLoad] {
        let runs = state.withLock { Array($0.runs.values) }
        return places.map { places in
            let own = runs.filter { $0.place?.places === places }
            let resting = own.count(where: \.isAsleep)
            return WorkerLoad(
                queue: places.queue, working: own.count - resting, resting: resting, isPaused: places.pause != nil)
        }
    }

    /// Takes no runs from a queue for some time, because what they need does not answer now. Those that it has go on.
    ///
    /// Of two pauses the one that ends later counts. Other workers of the queue are not told.
    ///
    /// - Parameters:
    ///   - queue: its name; one that the worker does not serve changes nothing.
    ///   - duration: at most an hour; more is brought down to that.
    public func pause(_ queue: String, for duration: Duration) {
        let end = ContinuousClock.now + min(duration, .seconds(3600))
        for places in places where places.queue == queue { places.pause(until: end) }
    }

    /// Takes no more runs, lets those that work end within `deadline`, and interrupts the others: they keep what they own,
    /// and another worker goes on with them. Those that sleep, or wait for something, are let go at once.
    ///
    /// Returns when it holds nothing any more, or when an interrupted body has ignored that for twice the
    /// ``EngineConfiguration/cancellationGrace``. Safe to call twice; the later deadline counts for nothing.
    public func drain(within deadline: Duration) async {
        let loops = state.withLock { state in
            state.isDraining = true
            return state.loops
        }
        let end = ContinuousClock.now + deadline
        for loop in loops { loop.cancel() }
        for loop in loops { await loop.value }
        finishIfIdle()
        while true {
            let (runs, sleeping) = state.withLock { state in
                (Array(state.runs.values), state.runs.values.filter(\.isAsleep))
            }
            if runs.isEmpty { return }
            guard ContinuousClock.now < end else { break }
            for run in sleeping { run.stop(.interrupted) }
            await wait(atMost: .milliseconds(20))
        }
        for run in state.withLock({ Array($0.runs.values) }) { run.stop(.interrupted) }
        await wait(atMost: core.configuration.cancellationGrace * 2)
    }

    private func wait(atMost patience: Duration) async {
        let waiting = Attempt<Void>(grace: .zero)
        _ = await waiting.run(
            until: Timestamp(SystemClock().now()).advanced(by: patience), clock: SystemClock()
        ) { [idle] in await idle.value() }
    }

    private func finishIfIdle() {
        let isIdle = state.withLock { $0.isDraining && $0.runs.isEmpty }
        if isIdle { idle.fulfil(()) }
    }

    // MARK: - The loop of a queue

    private func work(_ queue: QueueConfiguration, _ places: WorkerPlaces) async {
        var vainLooks = VainLooks()
        while !Task.isCancelled {
            do {
                try core.requireOpen()
                let look = try await takeSome(queue, places)
                if !look.wasInVain { vainLooks.forgive() }
                guard let pause = look.pause else { continue }
                let looked = ContinuousClock.now
                try await places.news.wait(atMost: pause)
                guard look.wasInVain, let next = vainLooks.next(after: looked) else { continue }
                try await Task.sleep(until: min(next, looked + pause), clock: .continuous)
            } catch is CancellationError {
                return
            } catch let error as WorkflowError where error.code == .engineClosed {
                return
            } catch {
                places.trouble = error
                core.logger.warning(
                    "no runs could be taken from the queue",
                    metadata: ["queue": "\(queue.name)", "error": "\(error)"])
                do { try await Task.sleep(for: Self.slowPoll, clock: .continuous) } catch { return }
            }
        }
    }

    /// - Returns: how long to wait for news, `nil` if there may be more to take; and whether the store had nothing.
    private func takeSome(
        _ queue: QueueConfiguration, _ places: WorkerPlaces
    ) async throws -> (pause: Duration?, wasInVain: Bool) {
        if let pause = places.pause { return (min(pause, Self.slowPoll), false) }
        let limit = min(places.free, Self.batch)
        guard limit > 0 else { return (Self.slowPoll, false) }
        state.withLock { $0.looks += 1 }
        defer { state.withLock { $0.looks -= 1 } }
        let request = QueueRequest(queue: queue.name, workflows: core.knownWorkflows, limit: limit)
        let asked = ContinuousClock.now
        let answer = try await core.store.take(request, owner: core.owner())
        places.trouble = nil
        if !answer.claimed.isEmpty { core.metrics.claimed(queue.name, since: asked) }
        for claimed in answer.claimed { await begin(claimed, queue, places) }
        if answer.claimed.count == limit { return (nil, false) }
        return (min(answer.nextDue ?? Self.slowPoll, Self.slowPoll), answer.claimed.isEmpty)
    }

    private func begin(_ claimed: Claimed, _ queue: QueueConfiguration, _ places: WorkerPlaces) async {
        let id = claimed.record.id
        places.take()
        let place = RunPlace(places)
        do {
            if let deaths = claimed.record.queueing?.deaths, deaths > queue.deathLimit * 2 {
                let failure = try await core.bury(claimed, deaths)
                place.giveUp()
                observe(.ended(claimed.record, .failed(failure)))
                return
            }
            guard let registered = core.registered(claimed.record.workflow) else {
                throw WorkflowError(.unknownWorkflow, "the workflow '\(claimed.record.workflow)' is not registered")
            }
            let execution = try registered.execute(core, claimed, place, queue.deathLimit)
            state.withLock { $0.runs[id] = execution }
            observe(.began(claimed.record))
            Task { [self] in
                let outcome = await execution.outcome.value()
                observe(.ended(claimed.record, .init(outcome)))
                place.giveUp()
                state.withLock { state in
                    // Another execution may have come in its place, where this one had lost its lease.
                    if state.runs[id] === execution { state.runs[id] = nil }
                    state.done += 1
                }
                finishIfIdle()
            }
        } catch {
            let ending = await core.leaveUnbegun(claimed, error)
            place.giveUp()
            observe(.ended(claimed.record, ending))
        }
    }
}
