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
            """
            Only runs that are so: pending, running, sleeping, interrupted, succeeded, failed or cancelled; of runs of queues \
            also queued (they wait for a worker) or parked (no worker can go on). May be repeated.
            """
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
            let runs: Result<[RunRecord], any Error>
            do {
                runs = .success(try await found(in: reader))
            } catch {
                runs = .failure(error)
            }
            await reader.close()
            try show(runs.get().map { RunDocument($0) })
        }
    }

    private func found(in reader: StoreReader) async throws -> [RunRecord] {
        // The store knows nothing of a command's own words, so runs are read a page after the other.
        let isPlain = status.allSatisfy { $0.standing == nil }
        var query = RunQuery(
            statuses: status.isEmpty ? nil : status.reduce(into: []) { $0.formUnion($1.statuses) },
            limit: isPlain ? limit : max(limit, 500))
        var found: [RunRecord] = []
        while found.count < limit {
            let page = try await reader.runs(query)
            found += isPlain ? page : page.filter { run in status.contains { $0.holds(of: run) } }
            guard page.count == query.limit, let last = page.last else { break }
            query.before = last.id
        }
        return Array(found.prefix(limit))
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
                        run.id, run.standing, ageText(run.createdAt.distance(to: now)), run.snapshot ?? "-",
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
    /// One that the store knows; nil for what is only said of runs of queues.
    private let status: RunStatus?
    /// What is only said of runs of queues; nil for what the store knows.
    let standing: String?

    static var allCases: [StatusArgument] {
        RunStatus.allCases.map { StatusArgument(status: $0, standing: nil) }
            + ["queued", "parked"].map { StatusArgument(status: nil, standing: $0) }
    }
    static var allValueStrings: [String] { allCases.map(\.word) }

    private init(status: RunStatus?, standing: String?) {
        self.status = status
        self.standing = standing
    }

    init?(argument: String) {
        guard let known = Self.allCases.first(where: { $0.word == argument }) else { return nil }
        self = known
    }

    private var word: String { status?.rawValue ?? standing ?? "" }

    /// What the store is asked for.
    var statuses: Set<RunStatus> { status.map { [$0] } ?? [.pending, .interrupted] }

    func holds(of run: RunRecord) -> Bool {
        status.map { $0 == run.status } ?? (run.standing == standing)
    }
}
