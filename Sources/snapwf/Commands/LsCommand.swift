import ArgumentParser
import Files
import FoundationEssentials
import SnapshotSteps
import Workflow

struct LsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "Lists runs, newest first.", aliases: ["list"])

    @Option(name: .shortAndLong, help: "How many at most.")
    var limit = 50

    @OptionGroup var options: GlobalOptions

    func validate() throws {
        guard (1...10_000).contains(limit) else { throw ValidationError("--limit must be from 1 to 10000.") }
    }

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            guard let reader = try await RecordedRuns.open() else { return try show([]) }
            let runs = try await reader.runs(RunQuery(workflow: SnapshotWorkflow.name, limit: limit))
            await reader.close()
            try show(runs.map(RunDocument.init))
        }
    }

    private func show(_ runs: [RunDocument]) throws {
        if options.json {
            try deliver(JSONText.document(RunList(runs: runs)))
        } else if options.quiet {
            for run in runs { try deliver(run.id + "\n") }
        } else if runs.isEmpty {
            Terminal.standardError.write("snapwf: there is no run yet; start one: snapwf run IMAGE\n")
        } else {
            let rows =
                [["RUN", "STATUS", "AGE", "SNAPSHOT", "IMAGE"]]
                + runs.map { run in
                    [
                        run.id, run.status, spanText(run.createdAt.distance(to: Date())), run.snapshot ?? "-",
                        run.image,
                    ]
                }
            try deliver(table(rows))
        }
    }
}

/// Columns as wide as their widest cell; the last one is not padded.
func table(_ rows: [[String]]) -> String {
    guard let columns = rows.map(\.count).max() else { return "" }
    let widths = (0..<columns).map { column in rows.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0 }
    return rows.map { row in
        row.enumerated().map { column, cell in
            column == row.count - 1 ? cell : cell.padded(to: widths[column])
        }.joined(separator: "  ") + "\n"
    }.joined()
}

/// `snapwf ls --json`
struct RunList: Encodable {
    let schema = 1
    let runs: [RunDocument]
}

/// One run, as `ls` and `show` print it.
struct RunDocument: Encodable {
    let id: String
    let status: String
    let image: String
    /// Where its sandbox is made: `local`, or the address of an API.
    let place: String
    let snapshot: String?
    let error: String?
    let createdAt: Date
    let updatedAt: Date
    let finishedAt: Date?

    init(_ run: RunRecord) {
        let result = run.output.flatMap { try? JSONDecoder().decode(SnapshotResult.self, from: Data($0.utf8)) }
        id = run.id.description
        status = run.status.rawValue
        image = run.labels["image"] ?? "?"
        place = run.labels[GarbageCollector.placeLabel] ?? SandboxPlace.local.description
        snapshot = result?.snapshotID
        error = run.failure?.message
        createdAt = run.createdAt
        updatedAt = run.updatedAt
        finishedAt = run.finishedAt
    }
}
