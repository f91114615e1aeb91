import Files
import FoundationEssentials
import Glibc
import HelperInterface
import Logging
import SnapshotSteps
import UnixSignals
import Workflow

/// Starts, resumes and watches one run, and turns its end into output and an exit code.
@MainActor
struct RunDriver {
    let session: Session
    let reporter: RunReporter

    private static let requestLabel = "request"

    /// Starts the request, unless the same one is under way: then goes on with it, or waits for it.
    func run(_ request: SnapshotRequest, label: String) async throws {
        if !request.ignoresCatalog, let unfinished = try await unfinishedRun(label) {
            switch unfinished.status {
            case .interrupted, .pending:
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
            default:
                break
            }
            return try await attach(to: unfinished)
        }
        for note in try await Preflight.check(request, in: session.environment) { reporter.note(note, always: false) }
        var labels = [Self.requestLabel: label, "image": request.image]
        if let place = request.place { labels[GarbageCollector.placeLabel] = place.description }
        let handle = try await session.engine.start(session.workflow, input: request, labels: labels)
        reporter.begin(run: handle.id.description, image: request.image, platform: request.platform)
        try await drive(handle)
    }

    func resume(_ id: RunID) async throws {
        if let place = try await session.engine.run(id)?.place {
            // Before the run is touched: without the token it would fail, and it is to be gone on with.
            try await Preflight.reach(place, in: session.environment)
        }
        let handle = try await session.engine.resume(id, as: session.workflow)
        if let record = try await session.engine.run(id) {
            reporter.begin(run: id.description, image: record.labels["image"] ?? "", platform: nil)
        }
        try await drive(handle)
    }

    /// Waits for a run that another process executes, and goes on with it if that process dies.
    private func attach(to run: RunRecord) async throws {
        let holder = run.owner.map { " (process \($0.pid) on \($0.host))" } ?? ""
        reporter.note("run \(run.id) is at work on this image already\(holder): waiting for it")
        reporter.begin(run: run.id.description, image: run.labels["image"] ?? "", platform: nil)
        let watcher = EventWatcher(engine: session.engine, run: run.id, reporter: reporter)
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup)
        let stop = Task { () -> Bool in
            for await _ in signals { return true }
            return false
        }
        defer { stop.cancel() }
        let wait = Task { () -> RunRecord? in
            while !Task.isCancelled {
                try await watcher.showNew()
                guard let record = try await session.engine.run(run.id) else { return nil }
                if record.status.isFinished || record.status == .interrupted { return record }
                try await Task.sleep(for: .milliseconds(200))
            }
            return nil
        }
        Task {
            if await stop.value { wait.cancel() }
        }
        let record: RunRecord?
        do {
            record = try await wait.value
        } catch is CancellationError {
            reporter.note("no longer waiting; run \(run.id) goes on in its own process")
            throw Exit(.interrupted)
        }
        guard let record else { throw Exit(.interrupted) }
        if record.status == .interrupted {
            reporter.note("its process ended: going on with it here")
            return try await resume(run.id)
        }
        try await report(finished: record)
    }

    /// What a finished run has to say, whoever executed it.
    func report(finished record: RunRecord) async throws {
        if record.status == .succeeded, let output = record.output {
            let result = try JSONDecoder().decode(SnapshotResult.self, from: Data(output.utf8))
            return try reporter.succeed(result, run: record.id.description)
        }
        throw RunFailure(
            run: record.id, status: record.status, failure: record.failure,
            steps: try await session.engine.steps(of: record.id))
    }

    private func unfinishedRun(_ label: String) async throws -> RunRecord? {
        try await session.engine.runs(
            RunQuery(
                statuses: [.pending, .running, .sleeping, .interrupted], workflow: SnapshotWorkflow.name,
                labels: [Self.requestLabel: label], limit: 1)
        ).first
    }

    private func drive(_ handle: RunHandle<SnapshotResult>) async throws {
        let engine = session.engine
        let watcher = EventWatcher(engine: engine, run: handle.id, reporter: reporter)
        let watch = Task {
            while !Task.isCancelled {
                try await watcher.showNew()
                try await Task.sleep(for: .milliseconds(100))
            }
        }
        let interruption = await interruptOnSignal()
        defer { interruption.cancel() }
        do {
            let result = try await handle.result()
            await finish(watch, watcher)
            // A sandbox that was lost on the way is nobody's any more, and may be large.
            await session.sweep()
            try reporter.succeed(result, run: handle.id.description)
            await session.close()
        } catch {
            await finish(watch, watcher)
            let failure = try await describe(error, run: handle.id)
            await session.close()
            throw failure
        }
    }

    private func finish(_ watch: Task<Void, any Error>, _ watcher: EventWatcher) async {
        watch.cancel()
        _ = await watch.result
        do { try await watcher.showNew() } catch { session.logger.debug("the last events were not read: \(error)") }
    }

    /// The first signal stops the run where it can go on later; the second ends the process at once.
    private func interruptOnSignal() async -> Task<Void, Never> {
        let signals = await UnixSignalsSequence(trapping: .sigint, .sigterm, .sighup)
        let engine = session.engine
        let reporter = reporter
        return Task {
            var count = 0
            for await _ in signals {
                count += 1
                if count > 1 { _exit(130) }
                reporter.note("stopping; the sandbox stays. Once more to leave at once.")
                Task { await engine.interrupt() }
            }
        }
    }

    private func describe(_ error: any Error, run: RunID) async throws -> any Error {
        guard let error = error as? WorkflowError else { return error }
        switch error.code {
        case .interrupted:
            return RunInterrupted(run: run)
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
    }
}

/// The run was told to stop and can go on.
struct RunInterrupted: Error {
    let run: RunID
}

/// The run met what only somebody outside can mend, and can go on then.
struct RunStopped: Error {
    let run: RunID
    let error: WorkflowError

    /// The step that is in doubt, if that is why.
    var step: String? {
        if case .inDoubt(let step) = error.code { step } else { nil }
    }
}

/// The snapshot is made, but the result could not be written to standard output.
struct ResultNotTold: Error {
    let run: String
    let snapshot: String
    let cause: FileError
}

/// The run ended without a snapshot.
struct RunFailure: Error {
    let run: RunID
    let status: RunStatus
    /// The step that failed for good, and what it said.
    let step: StepRecord?
    let failure: Failure?

    init(run: RunID, status: RunStatus, failure: Failure?, steps: [StepRecord]) {
        self.run = run
        self.status = status
        step = steps.last { $0.state == .failed && ($0.name == failure?.step || failure?.step == nil) }
        self.failure = step?.failure ?? failure
    }

    /// The project's own error, when it was one.
    var snapshotError: SnapshotError? { failure?.decoded(as: SnapshotError.self) }
}

extension RunRecord {
    /// Where its sandbox is made; nil for this machine, and for a workflow of another kind.
    var place: SandboxPlace? {
        (try? JSONDecoder().decode(SnapshotRequest.self, from: Data(input.utf8)))?.place
    }
}
