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

    @Option(
        name: .shortAndLong,
        help:
            "Only runs that are so: pending, running, sleeping, interrupted, succeeded, failed or cancelled. May be repeated."
    )
    var status: [StatusArgument] = []

    @OptionGroup var stored: StoreOptions

    @OptionGroup var options: GlobalOptions

    func validate() throws {
        guard (1...10_000).contains(limit) else { throw ValidationError("--limit must be from 1 to 10000.") }
    }

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            guard let reader = try await RecordedRuns.open(stored) else { return try show([]) }
            let runs = try await reader.runs(
                RunQuery(
                    statuses: status.isEmpty ? nil : Set(status.map(\.status)), workflow: SnapshotWorkflow.name,
                    limit: limit))
            await reader.close()
            try show(runs.map(RunDocument.init))
        }
    }

    private func show(_ runs: [RunDocument]) throws {
        if options.json {
            try deliver(JSONText.document(RunList(runs: runs)))
        } else if options.quiet {
            for run in runs { try deliver(run.id + "\n") }
        } else if runs.isEmpty, !status.isEmpty {
            Terminal.standardError.write("snapwf: no run is so; all of them: snapwf ls\n")
        } else if runs.isEmpty {
            Terminal.standardError.write("snapwf: there is no run yet; start one: snapwf run IMAGE\n")
        } else {
            let now = Date()
            let rows =
                [["RUN", "STATUS", "BEGAN", "SNAPSHOT", "IMAGE"]]
                + runs.map { run in
                    [
                        run.id, run.status, ageText(run.createdAt.distance(to: now)), run.snapshot ?? "-",
                        run.image,
                    ]
                }
            try deliver(
                table(
                    rows, width: Terminal.standardOutput.columns, style: Style(standardOutput: options.color), status: 1
                ))
        }
    }
}

/// A run's status as people write it.
struct StatusArgument: ExpressibleByArgument, CaseIterable {
    let status: RunStatus

    static var allCases: [StatusArgument] { RunStatus.allCases.map { StatusArgument(status: $0) } }
    static var allValueStrings: [String] { RunStatus.allCases.map(\.rawValue) }

    init(status: RunStatus) { self.status = status }

    init?(argument: String) {
        guard let status = RunStatus(rawValue: argument) else { return nil }
        self.status = status
    }
}
