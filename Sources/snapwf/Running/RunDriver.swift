import FoundationEssentials
import HelperInterface
import Logging
import SnapshotSteps
import Workflow

/// Starts, resumes and watches one run until it has made its snapshot.
@MainActor
struct RunDriver {
    struct Outcome {
        let run: RunID
        let result: SnapshotResult
    }

    let session: Session
    let reporter: RunReporter
    let interruption: Interruption
    var policy = Interruption.Policy.keep
    /// How long a run that is started may take.
    var timeout: Duration?
    /// Called as soon as the run is on disk.
    var onRecorded: @MainActor (RunID) -> Void = { _ in }

    nonisolated static let requestLabel = "request"

    nonisolated static let imageLabel = "image"

    /// What a run is found by.
    nonisolated static func labels(of request: SnapshotRequest, _ label: String) -> [String: String] {
        var labels = [requestLabel: label, imageLabel: request.image]
        if let place = request.place { labels[GarbageCollector.placeLabel] = place.description }
        return labels
    }

    private var workflow: SnapshotWorkflow {
        let reporter = reporter
        return session.workflow { reporter.show($0) }
    }

    /// Starts the request, unless the same one is under way: then goes on with it, or waits for it.
    ///
    /// - Parameter label: the same for the same request.
    func run(_ request: SnapshotRequest, label: String) async throws -> Outcome {
        if !request.ignoresCatalog, let unfinished = try await unfinishedRun(label) {
            if unfinished.queueing == nil, unfinished.status == .interrupted || unfinished.status == .pending {
                reporter.note("this image has an interrupted run, \(unfinished.id): going on with it")
                do {
                    return try await resume(unfinished.id)
                } catch let error as WorkflowError {
                    // Somebody else was faster, or it just ended: then it can be watched.
                    switch error.code {
                    case .runHeld, .alreadyFinished: break
                    default: throw error
                    }
                }
            }
            return try await attach(to: unfinished)
        }
        for note in try await Preflight.check(request, in: session.environment) { reporter.note(note, always: false) }
        let labels = Self.labels(of: request, label)
        let handle = try await session.engine.start(workflow, input: request, labels: labels, timeout: timeout)
        onRecorded(handle.id)
        reporter.begin(run: handle.id.description, image: request.image, platform: request.platform)
        return try await drive(handle)
    }

    func resume(_ id: RunID) async throws -> Outcome {
        if let place = try await session.engine.run(id)?.place {
            // Before the run is touched: without the token it would fail, and it is to be gone on with.
            try await Preflight.reach(place, in: session.environment)
        }
        let handle = try await session.engine.resume(id, as: workflow)
        onRecorded(id)
        if let record = try await session.engine.run(id) {
            reporter.begin(run: id.description, image: record.labels["image"] ?? "", platform: nil)
        }
        return try await drive(handle)
    }

    /// Gives a parked run of a queue to its workers again, and waits for it.
    ///
    /// - Throws: `runQueued` for one that is not parked.
    func release(_ run: RunRecord, to queueing: RunRecord.Queueing) async throws -> Outcome {
        guard queueing.isParked else { throw SnapshotError.queued(run.id, queueing) }
        try await session.engine.unpark(run.id)
        reporter.note("run \(run.id) is given to the workers of queue \(queueing.queue)")
        return try await attach(to: try await session.engine.run(run.id) ?? run)
    }

    /// Waits for a run that another process executes. If that process dies, it goes on with the run, unless a queue's
    /// workers do.
    func attach(to run: RunRecord) async throws -> Outcome {
        if run.queueing == nil {
            let holder = run.owner.map { " (process \($0.pid) on \($0.host))" } ?? ""
            reporter.note("run \(run.id) is at work on this image already\(holder): waiting for it")
        } else if run.status == .pending, let queue = run.queueing?.queue {
            reporter.note(
                "run \(run.id) waits in queue \(queue); its workers: snapwf worker --queue \(queue)", always: false)
        }
        onRecorded(run.id)
        reporter.begin(run: run.id.description, image: run.labels["image"] ?? "", platform: nil)
        let watcher = EventWatcher(engine: session.engine, run: run.id, reporter: reporter)
        let wait = Task { () -> RunRecord? in
            while !Task.isCancelled {
                try await watcher.showNew()
                guard let record = try await session.engine.run(run.id) else { return nil }
                if record.status.isFinished || record.isLeft { return record }
                try await Task.sleep(for: .milliseconds(200))
            }
            return nil
        }
        let token = interruption.watch { wait.cancel() }
        defer { interruption.forget(token) }
        let record: RunRecord?
        do {
            record = try await wait.value
        } catch is CancellationError {
            record = nil
        }
        guard let record else {
            reporter.note(
                "no longer waiting; run \(run.id) "
                    + (run.queueing == nil ? "goes on in its own process" : "stays with its queue's workers"))
            throw Exit(.interrupted)
        }
        if record.queueing?.isParked == true { throw try await RunParked(record, in: session.engine) }
        if record.status == .interrupted {
            reporter.note("its process ended: going on with it here")
            return try await resume(run.id)
        }
        return try await outcome(ofFinished: record)
    }

    /// What a finished run has to say, whoever executed it.
    func outcome(ofFinished record: RunRecord) async throws -> Outcome {
        if record.status == .succeeded, let output = record.output {
            let result = try JSONDecoder().decode(SnapshotResult.self, from: Data(output.utf8))
            return Outcome(run: record.id, result: result)
        }
        throw RunFailure(
            run: record.id, status: record.status, failure: record.failure,
            steps: try await session.engine.steps(of: record.id))
    }

    private func unfinishedRun(_ label: String) async throws -> RunRecord? {
        // What another machine makes is a run of its own: where the result can travel, this one waits for it and fetches it.
        try await session.engine.unfinishedRun(
            labels: [Self.requestLabel: label], owner: session.environment.owner)
    }

    private func drive(_ handle: RunHandle<SnapshotResult>) async throws -> Outcome {
        let watcher = EventWatcher(engine: session.engine, run: handle.id, reporter: reporter)
        let watch = Task {
            while !Task.isCancelled {
                try await watcher.showNew()
                reporter.draw()
                try await Task.sleep(for: .milliseconds(100))
            }
        }
        let token = interruption.watch { [policy, engine = session.engine] in
            if policy == .kill { Task { try? await engine.cancel(handle.id) } }
        }
        defer { interruption.forget(token) }
        do {
            let result = try await handle.result()
            await finish(watch, watcher)
            return Outcome(run: handle.id, result: result)
        } catch {
            await finish(watch, watcher)
            throw try await describe(error, run: handle.id)
        }
    }

    private func finish(_ watch: Task<Void, any Error>, _ watcher: EventWatcher) async {
        watch.cancel()
        _ = await watch.result
        do { try await watcher.showNew() } catch { session.logger.debug("the last events were not read: \(error)") }
        reporter.end()
    }

    private func describe(_ error: any Error, run: RunID) async throws -> any Error {
        guard let error = error as? WorkflowError else { return error }
        switch error.code {
        case .interrupted:
            return RunInterrupted(runs: [run])
        case .blocked, .resourceUnavailable, .inDoubt:
            return RunStopped(run: run, error: error)
        case .runFailed(let failure):
            return RunFailure(
                run: run, status: .failed, failure: failure, steps: try await session.engine.steps(of: run))
        case .cancelled:
            return RunFailure(run: run, status: .cancelled, failure: nil, steps: [])
        default:
            return error
        }
    }
}

/// Reads a run's events as they come and hands each to the reporter once.
final class EventWatcher: Sendable {
    private let engine: Engine
    private let run: RunID
    private let reporter: RunReporter
    @MainActor private var last: Int64 = 0

    init(engine: Engine, run: RunID, reporter: RunReporter) {
        self.engine = engine
        self.run = run
        self.reporter = reporter
    }

    @MainActor
    func showNew() async throws {
        let events = try await engine.events(of: run, after: last, limit: 1000)
        for event in events where event.seq > last {
            last = event.seq
            reporter.show(event)
        }
        guard events.contains(where: { $0.kind == "step.retrying" }) else { return }
        for step in try await engine.steps(of: run) {
            if let next = step.nextAttemptAt { reporter.wait(step.name, until: next) }
        }
    }
}
