import Files
import FoundationEssentials
import SnapshotSteps
import Synchronization
import Workflow

/// Where everything comes together that a worker does: it counts, tells, and knows whether the worker is ready.
final class WorkerDesk: Sendable {
    private struct Begun {
        let at: ContinuousClock.Instant
        let queue: String
        /// Of its sandbox, by the name of the provider's own queue.
        let provider: String
    }

    private struct State {
        var worker: Worker?
        var runs: [RunID: Begun] = [:]
        var isDraining = false
        /// Runs that got as far as they could here.
        var executed = 0
        /// When the store answered last.
        var answered: ContinuousClock.Instant?
        var isStoreAway = false
        /// Until when queues were said to pause.
        var pauses: [String: ContinuousClock.Instant] = [:]
        /// Queues that were said to hold runs of another version.
        var foreign: Set<String> = []
    }

    let metrics = WorkerMetrics()
    private let variables: [String: String]
    private let state = Mutex(State())
    /// What is to be told; those who work wait for no terminal.
    private let told: AsyncStream<WorkerDocument>.Continuation
    private let teller: Task<Void, Never>

    /// The store counts as away when it has not answered for so long.
    private static let patience = Duration.seconds(15)
    /// How long a provider that refuses requests is left alone where it does not say, and at most.
    private static let usualPause = Duration.seconds(5)
    private static let longestPause = Duration.seconds(600)

    init(options: GlobalOptions, variables: [String: String]) {
        self.variables = variables
        let (documents, told) = AsyncStream.makeStream(
            of: WorkerDocument.self, bufferingPolicy: .bufferingOldest(10_000))
        self.told = told
        let (isJSON, isQuiet) = (options.json, options.quiet)
        teller = Task {
            for await document in documents {
                await onOwnThread {
                    if isJSON {
                        // A reader that went away is no reason to end: runs are at work.
                        say(JSONText.line(document), to: 1)
                    } else if !isQuiet {
                        Terminal.standardError.write(document.words.harmless + "\n")
                    }
                }
            }
        }
    }

    // MARK: - The worker's life

    func begin(_ worker: Worker, _ queues: [String], at address: String?) {
        metrics.prepare(queues)
        state.withLock { state in
            state.worker = worker
            state.answered = .now
        }
        var document = WorkerDocument(.ready)
        document.queues = queues
        document.address = address
        told.yield(document)
    }

    func drain(within limit: Duration) {
        let isBusy = state.withLock { state in
            state.isDraining = true
            return state.worker.map { !$0.runs.isEmpty } ?? false
        }
        var document = WorkerDocument(.draining)
        if isBusy { document.seconds = limit / .seconds(1) }
        told.yield(document)
    }

    /// Tells the last, and returns when all is told, or nobody has listened for five seconds.
    func end() async {
        var document = WorkerDocument(.stopped)
        document.executed = state.withLock { $0.executed }
        told.yield(document)
        told.finish()
        let teller = teller
        _ = try? await within(.seconds(5)) { await teller.value }
    }

    // MARK: - Runs

    /// Takes what the engine says.
    func take(_ event: WorkerEvent) {
        switch event {
        case .began(let run):
            let queue = run.queueing?.queue ?? ""
            let provider = QueueName(of: run.place ?? .local, variables).description
            state.withLock { $0.runs[run.id] = Begun(at: .now, queue: queue, provider: provider) }
            if run.epoch == 1 { metrics.began(queue, after: .seconds(run.createdAt.distance(to: Date()))) }
            told.yield(document(.began, run))
        case .ended(let run, let ending):
            let begun = state.withLock { state in
                if ending.isExecution { state.executed += 1 }
                return state.runs.removeValue(forKey: run.id)
            }
            var document = document(.ended, run)
            document.outcome = ending.word
            document.error = ending.reason
            document.snapshot = ending.snapshot
            document.seconds = begun.map { ($0.at.duration(to: .now) / .milliseconds(1)).rounded() / 1000 }
            metrics.ended(run.queueing?.queue ?? "", ending.word)
            told.yield(document)
        }
    }

    private func document(_ event: WorkerDocument.Event, _ run: RunRecord) -> WorkerDocument {
        var document = WorkerDocument(event)
        document.run = run.id.description
        document.queue = run.queueing?.queue
        document.image = run.labels[RunDriver.imageLabel]
        return document
    }

    // MARK: - Providers

    /// One that answers 429 gets no new runs for as long as it asks: its own queue pauses, and those whose runs here have
    /// their sandboxes from it.
    var watch: ProviderWatch {
        ProviderWatch(
            asked: { [self] place in metrics.asked(QueueName(of: place, variables).description) },
            failed: { [self] place, isThrottled, retryAfter in
                let provider = QueueName(of: place, variables).description
                metrics.failed(provider, isThrottled: isThrottled)
                if isThrottled {
                    pause(provider, for: min(max(retryAfter ?? Self.usualPause, .seconds(1)), Self.longestPause))
                }
            })
    }

    private func pause(_ provider: String, for wait: Duration) {
        let now = ContinuousClock.now
        let (worker, queues, news) = state.withLock { state in
            let queues = Set(state.runs.values.filter { $0.provider == provider }.map(\.queue)).union([provider])
            let news = queues.filter { state.pauses[$0] ?? now <= now }
            for queue in queues { state.pauses[queue] = max(state.pauses[queue] ?? now, now + wait) }
            return (state.worker, queues, news)
        }
        guard let worker else { return }
        for queue in queues { worker.pause(queue, for: wait) }
        let own = Set(worker.load.map(\.queue))
        for queue in news.intersection(own).sorted() {
            var document = WorkerDocument(.paused)
            document.queue = queue
            document.seconds = wait / .seconds(1)
            told.yield(document)
        }
    }

    // MARK: - Other versions

    /// So many runs that are due in a queue are left to workers of another version.
    func leaves(_ count: Int, of queue: String) {
        let isNew = state.withLock { state in
            guard count > 0 else {
                state.foreign.remove(queue)
                return false
            }
            return state.foreign.insert(queue).inserted
        }
        guard isNew else { return }
        var document = WorkerDocument(.foreign)
        document.queue = queue
        document.runs = count
        told.yield(document)
    }

    // MARK: - Readiness

    func storeAnswered() {
        metrics.show(storeAnswers: true)
        let isNew = state.withLock { state in
            defer { state.isStoreAway = false }
            state.answered = .now
            return state.isStoreAway && !state.isDraining
        }
        if isNew { told.yield(WorkerDocument(.again)) }
    }

    func storeFailed(_ error: any Error) {
        metrics.show(storeAnswers: false)
        let isNew = state.withLock { state in
            defer { state.isStoreAway = true }
            return !state.isStoreAway
        }
        guard isNew else { return }
        var document = WorkerDocument(.unready)
        // Where the runs went says all; the statement that found it out says nothing more.
        let moved = (error as? WorkflowError).flatMap { $0.code == .storeMoved ? $0.message : nil }
        document.error = moved ?? "\(error)"
        told.yield(document)
    }

    /// Sets what the metrics say of this moment, for somebody who asks.
    func measure() {
        let (worker, isStoreHere) = state.withLock { state in
            (state.worker, !state.isStoreAway && state.answered.map { $0.duration(to: .now) < Self.patience } ?? false)
        }
        guard let worker else { return }
        for load in worker.load { metrics.show(load) }
        metrics.show(storeAnswers: isStoreHere)
    }

    /// Whether it takes runs, and in words why not.
    var readiness: (isReady: Bool, words: String) {
        state.withLock { state in
            guard state.worker != nil else { return (false, "it has not begun") }
            if state.isDraining { return (false, "it is told to stop and takes no more runs") }
            guard let answered = state.answered, answered.duration(to: .now) < Self.patience, !state.isStoreAway else {
                return (false, "the store does not answer, or gives no runs")
            }
            return (true, "it takes runs")
        }
    }
}

extension WorkerEvent.Ending {
    /// Whether another worker does not simply go on with it.
    fileprivate var isExecution: Bool {
        switch self {
        case .succeeded, .failed, .cancelled, .parked: true
        case .released, .lost: false
        }
    }

    fileprivate var word: String {
        switch self {
        case .succeeded: "succeeded"
        case .failed: "failed"
        case .cancelled: "cancelled"
        case .released: "released"
        case .parked: "parked"
        case .lost: "lost"
        }
    }

    fileprivate var reason: String? {
        switch self {
        case .succeeded, .cancelled, .released: nil
        case .failed(let failure): failure.message
        case .parked(let reason), .lost(let reason): reason.description
        }
    }

    fileprivate var snapshot: String? {
        guard case .succeeded(let output) = self else { return nil }
        return (try? JSONDecoder().decode(SnapshotResult.self, from: Data(output.utf8)))?.snapshotID
    }
}
