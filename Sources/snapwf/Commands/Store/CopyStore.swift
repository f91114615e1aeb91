import ArgumentParser
import Files
import FoundationEssentials
import HelperInterface
import SnapshotSteps
import Workflow

struct CopyStore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "copy",
        abstract: "Moves all runs to another store, ended ones and those in the middle.",
        discussion: """
            Nobody may execute a run of the old store meanwhile; none can be begun in it from the beginning of the copy on. \
            The new store must be empty. Killed anywhere, the same command goes on where it was. At the end counts and \
            checksums of all rows are compared, and the old store says where its runs went; snapwf store reopen takes that \
            back.

            Examples:
              snapwf store copy --to postgresql://snapwf@db.lan/snapwf
              snapwf store copy --from postgresql://snapwf@db.lan/snapwf --to /var/lib/snapwf/workflow.db
            """)

    @Option(
        help: ArgumentHelp("The store that they are in. Default: the one that other verbs use.", valueName: "place"))
    var from: String?

    @Option(help: ArgumentHelp("The store that they go to, made where there is none.", valueName: "place"))
    var to: String

    @OptionGroup var stored: StoreOptions

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let variables = ProcessInfo.processInfo.environment
            let state = RecordedSnapshots.state
            let source = try (from.map(StoreOptions.named) ?? stored).place(in: state())
            let target = try RunsPlace(to, in: state())
            let points = CrashPoints(variables)
            let report = try await StoreCopy.move(from: source.configuration, to: target.configuration) {
                points?.pass("store-copy:\($0)")
            }
            if let known = try? state(), fileExists(known.path) {
                try known.replaceStore(
                    report.oldID, by: .init(id: report.newID, name: target.shown), isOwn: target.isOwn)
            }
            try tell(report, target, reporter)
        }
    }

    private func tell(_ report: StoreCopy.Report, _ target: RunsPlace, _ reporter: RunReporter) throws {
        let document = StoreCopyDocument(report)
        if options.json {
            try deliver(JSONText.document(document))
        } else if !options.quiet {
            for table in document.tables {
                try deliver("\(table.name): \(table.rows) rows in both, SHA-256 \(table.checksum.prefix(16))…\n")
            }
            reporter.note(
                (report.wasDone ? "the runs are there already" : "all runs of \(report.from) are in \(report.to) now")
                    + (target.isOwn ? "" : "; from now on name it with --store or \(RunsPlace.variable)"))
        }
    }
}

/// `snapwf store copy --json`
struct StoreCopyDocument: Encodable {
    struct Table: Encodable {
        let name: String
        let rows: Int
        /// SHA-256 over all rows, the same in both stores.
        let checksum: String
    }

    let schema = 1
    let from: String
    let to: String
    /// Whether an earlier command had done it all.
    let wasDone: Bool
    /// Empty where it was done before.
    let tables: [Table]

    init(_ report: StoreCopy.Report) {
        from = report.from
        to = report.to
        wasDone = report.wasDone
        tables = report.tables.map { Table(name: $0.name, rows: $0.rows, checksum: $0.checksum) }
    }
}
