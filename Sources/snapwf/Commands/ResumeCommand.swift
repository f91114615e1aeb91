import ArgumentParser
import Files
import FoundationEssentials
import HelperInterface
import SnapshotSteps
import Workflow

struct ResumeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resume",
        abstract: "Goes on with interrupted runs, in the same sandboxes where they still live.",
        discussion: """
            A run of a queue is its workers' (snapwf worker): of those only one that is parked, because no worker could go \
            on with it, is given to them again.

            With --plan nothing happens: it prints what a resume would do with what is recorded, and exits 2 where a \
            step needs somebody's decision first (-q prints only the names of such steps).
            """)

    @Argument(
        help: ArgumentHelp("The runs: ids, unique prefixes of them, or @last.", valueName: "run"),
        completion: .resumableRuns)
    var runs: [String] = []

    @Flag(help: "All interrupted runs; of a shared store, those that this installation worked on last.")
    var all = false

    @Flag(help: "Say what would become of each recorded step and resource; change nothing.")
    var plan = false

    @Option(
        help: """
            The token for the API that the run's sandbox came from. Better in the environment: DEPOT_TOKEN or \
            SNAPWF_TOKEN.
            """)
    var token: String?

    @OptionGroup var running: RunningOptions

    @OptionGroup var stored: StoreOptions

    @OptionGroup var options: GlobalOptions

    func validate() throws {
        guard all != !runs.isEmpty else { throw ValidationError("Name a run, or say --all.") }
        if plan, all || runs.count > 1 { throw ValidationError("--plan is for one run.") }
        if running.detach, plan { throw ValidationError("--plan and --detach exclude each other.") }
    }

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: running.progress)
        try await reporter.reportingErrors {
            if plan { return try await showPlan() }
            if running.detach {
                let state = try StateDirectory(opening: try Places.stateDirectory(ProcessInfo.processInfo.environment))
                let (runs, log) = try Detachment.start(in: state, try stored.place(in: state))
                return try Detachment.tell(runs, log: log, options)
            }
            let session = try await Session.open(options, stored)
            let records = try await records(session, reporter)
            guard !records.isEmpty else {
                await session.close()
                return reporter.note("no run is interrupted")
            }
            for record in records { session.name(record.place, token: token) }
            let runs = try await releasingBatches(records, session, reporter)
            guard !runs.isEmpty else { return await session.close() }
            try await RunBatch(session: session, reporter: reporter, options: running).run(runs.map(item))
        }
    }

    /// Batches are only ever executed by workers: parked ones are given to them again, and nobody waits for them here.
    ///
    /// - Returns: the other runs.
    private func releasingBatches(
        _ records: [RunRecord], _ session: Session, _ reporter: RunReporter
    ) async throws -> [RunRecord] {
        for batch in records where batch.workflow == BatchWorkflow.name {
            if batch.status.isFinished {
                reporter.note("batch \(batch.id) has ended already: snapwf show \(batch.id)")
            } else if let queueing = batch.queueing, !queueing.isParked {
                await session.close()
                throw SnapshotError.queued(batch.id, queueing)
            } else {
                try await session.engine.unpark(batch.id)
                reporter.note("batch \(batch.id) is given to the workers again: snapwf show \(batch.id)")
            }
        }
        return records.filter { $0.workflow != BatchWorkflow.name }
    }

    private func records(_ session: Session, _ reporter: RunReporter) async throws -> [RunRecord] {
        guard all else { return try await session.engine.findRuns(runs) }
        let interrupted = RunQuery(
            statuses: [.interrupted, .pending], workflow: SnapshotWorkflow.name, limit: 10_000)
        let found = try await session.engine.runs(interrupted)
        // On another machine there may be what this one lacks: layouts, archives, files of credentials.
        let queued = found.filter { $0.queueing != nil }
        let parked = queued.filter(\.isLeft)
        if let first = parked.first {
            reporter.note(
                "\(parked.count) \(parked.count == 1 ? "run of a queue is" : "runs of queues are") parked; "
                    + "see why, and let go: snapwf show \(first.id)")
        }
        let loose = found.filter { $0.queueing == nil }
        let own = loose.filter { !$0.isElsewhere(than: session.environment.owner) }
        let others = loose.count - own.count
        if others > 0 {
            reporter.note(
                "\(others) interrupted \(others == 1 ? "run was" : "runs were") at work on other machines; "
                    + "name those that are to go on here")
        }
        return own.reversed()
    }

    private func item(_ record: RunRecord) -> RunBatch.Item {
        .init(title: record.labels["image"] ?? record.id.description) { driver in
            guard record.status.isFinished else {
                guard let queueing = record.queueing else { return try await driver.resume(record.id) }
                return try await driver.release(record, to: queueing)
            }
            driver.reporter.note("run \(record.id) has ended already: it \(record.status.rawValue)")
            return try await driver.outcome(ofFinished: record)
        }
    }

    private func showPlan() async throws {
        let plan = try await RecordedRuns.with(stored) { reader in
            try await reader.plan(reader.findRun(runs.first ?? "").id)
        }
        let document = PlanDocument(plan, now: Date())
        if options.json {
            try deliver(JSONText.document(document))
        } else if options.quiet {
            for name in document.undecided { try deliver(name + "\n") }
        } else {
            try deliver(document.text)
        }
        if !document.undecided.isEmpty { throw Exit(.inDoubt) }
    }
}
