import ArgumentParser
import Files
import HelperInterface
import SnapshotSteps
import Workflow

struct GCCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gc",
        abstract: "Ends what runs left behind: sandboxes nobody comes back for, half-made files, old records.",
        discussion: "Safe from cron, at the same time as runs. Snapshots are never removed by it.")

    @Flag(name: .customLong("dry-run"), help: "Say what would be removed, and why; change nothing.")
    var dryRun = false

    @Option(help: "How long an interrupted run keeps its sandbox.")
    var grace = Span(seconds: 15 * 60)

    @Option(help: "How long the records of finished runs are kept.")
    var keepRuns = Span(seconds: 30 * 86_400)

    @OptionGroup var places: PlaceOptions

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let session = try await Session.open(options)
            let named = try places.place(session.environment.variables)
            session.name(named, token: places.token)
            let collector = GarbageCollector(
                environment: session.environment, engine: session.engine, places: try places(of: session, and: named),
                grace: .seconds(grace.seconds))
            let plan = try await collector.plan()
            if dryRun {
                await session.close()
                try show(GarbageDocument(plan, outcomes: nil, runs: 0))
                try failWhereUnseen(plan, reporter)
                return
            }
            let outcomes = await collector.execute(plan)
            try await collector.forgetIdle(plan)
            let runs = try await session.engine.deleteFinishedRuns(olderThan: .seconds(keepRuns.seconds))
            let document = GarbageDocument(plan, outcomes: outcomes, runs: runs)
            await session.close()
            try show(document)
            try failWhereUnseen(plan, reporter)
            if document.items.contains(where: { $0.outcome == "failed" }) { throw Exit(.failed) }
        }
    }

    /// Every place where this installation ever made a sandbox, and the one that the flags name.
    @MainActor
    private func places(of session: Session, and named: SandboxPlace) throws -> [SandboxPlace] {
        let known = try session.state.places()
        return known.contains(named) ? known : known + [named]
    }

    @MainActor
    private func failWhereUnseen(_ plan: GarbagePlan, _ reporter: RunReporter) throws {
        for unseen in plan.unseen {
            reporter.note("nothing was touched at \(unseen.place): \(unseen.error)")
        }
        if let first = plan.unseen.first { throw Exit(first.error.exitStatus) }
    }

    private func show(_ document: GarbageDocument) throws {
        if options.json {
            try deliver(JSONText.document(document))
            return
        }
        for item in document.items {
            let error = item.error.map { ": \($0)" } ?? ""
            try deliver("\(item.outcome) \(item.kind) \(item.id): \(item.reason)\(error)\n")
        }
        for kept in document.kept where options.verbose {
            try deliver("keep \(kept.kind) \(kept.id): \(kept.reason)\n")
        }
        guard !options.quiet else { return }
        if document.runsDeleted > 0 { try deliver("deleted the records of \(document.runsDeleted) finished runs\n") }
        if document.items.isEmpty { Terminal.standardError.write("snapwf: nothing to remove\n") }
    }
}

/// `snapwf gc --json`
struct GarbageDocument: Encodable {
    struct Item: Encodable {
        let kind: String
        let id: String
        let reason: String
        /// `would-remove`, `removed`, `spared` or `failed`.
        let outcome: String
        let error: String?
    }
    struct Kept: Encodable {
        let kind: String
        let id: String
        let reason: String
    }
    /// A place whose sandboxes could not be listed; nothing of it was touched.
    struct Unseen: Encodable {
        let place: String
        let error: String
    }
    let schema = 1
    let items: [Item]
    let kept: [Kept]
    let unseen: [Unseen]
    let runsDeleted: Int

    init(_ plan: GarbagePlan, outcomes: [GarbageOutcome]?, runs: Int) {
        if let outcomes {
            items = outcomes.map { outcome in
                switch outcome.result {
                case .removed: Item(outcome.item, "removed")
                case .spared(let why): Item(outcome.item, "spared", error: why)
                case .failed(let why): Item(outcome.item, "failed", error: why)
                }
            }
        } else {
            items = plan.items.map { Item($0, "would-remove") }
        }
        kept = plan.kept.map { Kept(kind: $0.kind.rawValue, id: $0.id, reason: $0.reason) }
        unseen = plan.unseen.map { Unseen(place: $0.place.description, error: $0.error.description) }
        runsDeleted = runs
    }
}

extension GarbageDocument.Item {
    fileprivate init(_ item: GarbagePlan.Item, _ outcome: String, error: String? = nil) {
        let kind =
            switch item.subject {
            case .sandbox: "sandbox"
            case .ledgerEntry: "ledger-entry"
            case .directory: "directory"
            }
        self.init(kind: kind, id: item.id, reason: item.reason, outcome: outcome, error: error)
    }
}
