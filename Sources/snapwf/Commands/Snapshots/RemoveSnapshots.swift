import ArgumentParser
import Files
import HelperInterface
import SnapshotSteps

struct RemoveSnapshots: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm",
        abstract: "Removes snapshots.",
        discussion: """
            One that somebody works with stays, whatever is said. One with a name stays too, unless it is named by its \
            only name here, or --force is given; --force also forgets one whose files are gone.
            """, aliases: ["remove"])

    @Argument(help: "The snapshots: ids, prefixes of them, names, keys, SHA-256, or @last.", completion: .snapshots)
    var snapshots: [String]

    @Flag(help: "Also those with names, and those whose files are gone.")
    var force = false

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            var document = RemovedSnapshots()
            var status: ExitStatus?
            var keys: [String] = []
            for name in snapshots {
                do {
                    let (catalog, snapshot) = try await RecordedSnapshots.find(name)
                    try await catalog.remove(
                        snapshot, if: .init(names: force ? nil : [name], allowsMissingFile: force))
                    document.removed.append(snapshot.id)
                    keys.append(snapshot.key)
                } catch let error as SnapshotError {
                    // The others are removed all the same.
                    let report = ErrorReport(error)
                    document.failed.append(.init(snapshot: name, code: report.code.name, message: error.message))
                    status = status ?? report.status
                    Terminal.standardError.write(report.text)
                }
            }
            if options.json {
                try deliver(JSONText.document(document))
            } else {
                try deliver(document.removed.map { (options.quiet ? "" : "removed ") + $0 + "\n" }.joined())
            }
            // What this does not reach is brought in line by gc.
            try await SharedRecords.forget(keys: keys)
            if let status { throw Exit(status) }
        }
    }

    /// `snapwf snapshots rm --json`
    private struct RemovedSnapshots: Encodable {
        struct Failed: Encodable {
            let snapshot: String
            let code: String
            let message: String
        }
        let schema = 1
        var removed: [String] = []
        var failed: [Failed] = []
    }
}
