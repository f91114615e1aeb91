import ArgumentParser
import Files
import Glibc
import HelperInterface
import SnapshotSteps
import Workflow

struct GCCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gc",
        abstract: "Ends what runs left behind: sandboxes nobody comes back for, half-made files, old records.",
        discussion: """
            Safe from cron, at the same time as runs. Snapshots are removed only with --snapshots, and never one that \
            somebody works with.
            """)

    @Flag(name: .customLong("dry-run"), help: "Say what would be removed, and why; change nothing.")
    var dryRun = false

    @Option(help: "How long an interrupted run keeps its sandbox.")
    var grace = Span(seconds: 15 * 60)

    @Option(help: "How long the records of finished runs are kept; in a shared store, those of everybody.")
    var keepRuns = Span(seconds: 30 * 86_400)

    @Flag(help: "Also remove snapshots: those beyond --keep, or not used for --older-than, or both at once.")
    var snapshots = false

    @Option(help: "With --snapshots: how many stay, those that were used last.")
    var keep: Int?

    @Option(help: "With --snapshots: only those that were not used for so long, such as 30d.")
    var olderThan: Span?

    @Flag(help: "With --snapshots: those with a name too.")
    var named = false

    @Flag(help: "Also read all snapshots and compare them with their SHA-256; exits 5 when one is damaged.")
    var verify = false

    @OptionGroup var places: PlaceOptions

    @OptionGroup var stored: StoreOptions

    @OptionGroup var options: GlobalOptions

    func validate() throws {
        guard keep.map({ $0 >= 0 }) ?? true else { throw ValidationError("--keep must not be negative.") }
        let isBounded = keep != nil || olderThan != nil
        guard snapshots || !(isBounded || named) else {
            throw ValidationError("--keep, --older-than and --named are about snapshots: say --snapshots too.")
        }
        guard !snapshots || isBounded else {
            throw ValidationError("--snapshots needs --keep or --older-than, which say what stays.")
        }
    }

    private var retention: SnapshotRetention? {
        guard snapshots else { return nil }
        return SnapshotRetention(
            keep: keep, olderThan: olderThan.map { Int64($0.seconds) * 1000 }, includesNamed: named)
    }

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let session = try await Session.open(options, stored)
            let named = try places.place(session.environment.variables)
            session.name(named, token: places.token)
            let turn = try await turn(session, reporter)
            let swept: Swept
            do {
                swept = try await sweep(session, named, turn, reporter)
            } catch {
                // Others wait for it.
                await turn?.end()
                throw error
            }
            await turn?.end()
            let plan = swept.plan
            let catalog = session.catalog
            let verified =
                verify ? try await VerifySnapshots.verify(try await catalog.snapshots(), in: catalog) : nil
            let document = GarbageDocument(plan, outcomes: swept.outcomes, runs: swept.runs, verified: verified)
            await session.close()
            try show(document)
            if let failure = swept.failure { throw failure }
            try failWhereUnseen(plan, reporter)
            if document.items.contains(where: { $0.outcome == "failed" }) { throw Exit(.failed) }
            if verified?.contains(where: { !$0.whole }) == true { throw Exit(.badImage) }
        }
    }

    private struct Swept {
        let plan: GarbagePlan
        var outcomes: [GarbageOutcome]?
        var runs = 0
        /// What went wrong after things were removed: told after what was.
        var failure: (any Error)?
    }

    @MainActor
    private func sweep(
        _ session: Session, _ named: SandboxPlace, _ turn: SharedTurn?, _ reporter: RunReporter
    ) async throws -> Swept {
        let looksAfterAll = dryRun || turn != nil
        let others = looksAfterAll ? try await session.environment.shared?.installations() : nil
        let collector = GarbageCollector(
            environment: session.environment, engine: session.engine, places: try places(of: session, and: named),
            grace: .seconds(grace.seconds), retention: retention, otherStores: try await session.otherStores(),
            others: others ?? [], turn: turn)
        var swept = Swept(plan: try await collector.plan())
        guard !dryRun else { return swept }
        swept.outcomes = await collector.execute(swept.plan)
        do {
            try await collector.forgetIdle(swept.plan)
            swept.runs = try await session.engine.deleteFinishedRuns(olderThan: .seconds(keepRuns.seconds))
            try session.state.removeDetachedLogs(olderThan: .seconds(keepRuns.seconds))
            swept.failure = try await tellOthers(session, reporter)
        } catch {
            swept.failure = error
        }
        return swept
    }

    /// One at a time looks after what all installations of a shared store left elsewhere. Who does not get the turn within a
    /// minute looks after its own.
    @MainActor
    private func turn(_ session: Session, _ reporter: RunReporter) async throws -> SharedTurn? {
        guard !dryRun, let shared = session.environment.shared else { return nil }
        let patience = ContinuousClock.now + .seconds(60)
        let holder = "gc \(UInt64.random(in: 0 ... .max))"
        while true {
            let answer = try await shared.turn(
                "gc", holder: holder, about: "the gc of process \(getpid()) on \(shared.host)", logger: session.logger)
            switch answer {
            case .mine(let turn): return turn
            case .held(let by):
                guard ContinuousClock.now < patience else {
                    reporter.note("\(by) looks after the sandboxes of all: this one looks after its own")
                    return nil
                }
                try await Task.sleep(for: .milliseconds(500))
            }
        }
    }

    /// What is here and what is not here any more, as the others see it.
    ///
    /// - Returns: the first of the records that disagree with what is here; the others are told.
    @MainActor
    private func tellOthers(_ session: Session, _ reporter: RunReporter) async throws -> SnapshotError? {
        guard let shared = session.environment.shared else { return nil }
        let catalog = session.catalog
        let (count, problems) = try await shared.reconcile {
            try await catalog.snapshots().filter { catalog.bytesOnDisk(of: $0) != nil }
        }
        if count > 0 { reporter.note("brought \(count) records of the shared catalog up to date", always: false) }
        for problem in problems.dropFirst() { reporter.note(problem.message) }
        return problems.first
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
        for item in document.verified ?? [] where !item.whole {
            let next = item.next.map { "; next: \($0)" } ?? ""
            try deliver("damaged snapshot \(item.id): \(item.problems.joined(separator: "; "))\(next)\n")
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
    /// What reading all snapshots showed; null where nobody asked for it.
    let verified: [VerifiedSnapshots.Item]?

    init(_ plan: GarbagePlan, outcomes: [GarbageOutcome]?, runs: Int, verified: [VerifiedSnapshots.Item]?) {
        self.verified = verified
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
            case .snapshot: "snapshot"
            }
        self.init(kind: kind, id: item.id, reason: item.reason, outcome: outcome, error: error)
    }
}
