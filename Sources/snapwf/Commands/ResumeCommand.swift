import ArgumentParser
import SnapshotSteps
import Workflow

struct ResumeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resume",
        abstract: "Goes on with an interrupted run, in the same sandbox where it still lives.")

    @Argument(help: "The run's id, any unique prefix of it, or @last.")
    var run: String

    @Option(help: "How to tell progress on standard error: auto, tty, plain, json or none.")
    var progress: ProgressMode = .auto

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: progress)
        try await reporter.reportingErrors {
            let session = try await Session.open(options, onProgress: { reporter.show($0) })
            let record = try await session.findRun(self.run)
            let driver = RunDriver(session: session, reporter: reporter)
            if record.status.isFinished {
                reporter.note("run \(record.id) has ended already: it \(record.status.rawValue)")
                try await driver.report(finished: record)
            } else {
                try await driver.resume(record.id)
            }
        }
    }
}
