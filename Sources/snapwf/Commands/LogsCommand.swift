import ArgumentParser
import Files
import FoundationEssentials
import SnapshotSteps
import Workflow

struct LogsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "logs",
        abstract: "Prints what happened in a run, line by line.",
        discussion: """
            With --follow it goes on until the run has ended, whichever process works on it, also across interruptions and \
            resumes. It is in nobody's way, and its exit code says nothing about the run. What the helper said stays in the \
            sandbox and goes with it, but for its last words: they are in the error.
            """)

    @Argument(help: "The run's id, any unique prefix of it, or @last.", completion: .runs)
    var run: String = "@last"

    @Flag(name: .shortAndLong, help: "Go on until the run has ended.")
    var follow = false

    @Option(help: "Only what happened in the last so long, such as 90s or 2h.")
    var since: Span?

    @OptionGroup var stored: StoreOptions

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let record = try await RecordedRuns.with(stored) { try await $0.findRun(self.run) }
            let beginning = since.map { Date().addingTimeInterval(-Double($0.seconds)) }
            var log = RunLog(run: record.id)
            var told = record.isLeft
            while true {
                // Before the events: what a run that has ended did is all there then.
                let (now, events) = try await RecordedRuns.with(stored) { reader in
                    (try await reader.run(record.id), try await log.next(from: reader))
                }
                for event in events where beginning.map({ event.at >= $0 }) ?? true {
                    try deliver(options.json ? JSONText.line(EventDocument(event, isLine: true)) : event.line)
                }
                if events.count == RunLog.page { continue }
                guard follow, let now, !now.status.isFinished else { return }
                if now.isLeft, !told || !events.isEmpty {
                    reporter.note(
                        "\(now.standing); goes on when somebody resumes it: snapwf resume \(record.id)", always: false)
                }
                told = now.isLeft
                try await Task.sleep(for: .milliseconds(200))
            }
        }
    }
}

/// Reads a run's events as they come, each once.
struct RunLog {
    let run: RunID
    private var last: Int64 = 0

    /// The most events at a time; when so many came, more may wait.
    static let page = 10_000

    init(run: RunID) { self.run = run }

    mutating func next(from reader: StoreReader) async throws -> [EventRecord] {
        let events = try await reader.events(of: run, after: last, limit: Self.page)
        last = events.last?.seq ?? last
        return events
    }
}
