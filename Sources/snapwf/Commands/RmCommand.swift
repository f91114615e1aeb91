import ArgumentParser
import SnapshotSteps
import Workflow

struct RmCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm",
        abstract: "Deletes the records of runs that have ended.",
        discussion: """
            Their snapshots stay: snapwf snapshots rm removes those. Old records go by themselves with snapwf gc.
            """)

    @Argument(
        help: ArgumentHelp("The runs: ids, unique prefixes of them, or @last.", valueName: "run"),
        completion: .runs)
    var runs: [String]

    @Flag(name: .shortAndLong, help: "Cancel a run first that has not ended.")
    var force = false

    @Option(help: "With --force: the token for the API that the runs' sandboxes came from. Better in the environment.")
    var token: String?

    @OptionGroup var stored: StoreOptions

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let session = try await Session.open(options, stored)
            let canceller = RunCanceller(session: session, token: token, waits: true)
            try await RunActions.perform(on: runs, in: session, reporter, options) { record in
                if force { _ = try await canceller.cancel(record) }
                do {
                    try await session.engine.deleteRun(record.id)
                } catch let error as WorkflowError {
                    guard case .notFinished(let status) = error.code else { throw error }
                    throw SnapshotError(
                        .runUnfinished,
                        status.isFinished
                            ? "run \(record.id) has ended, but its sandbox may still be there: snapwf gc, then again"
                            : "run \(record.id) has not ended, it is \(status.rawValue): snapwf rm --force \(record.id)"
                    )
                }
                return "deleted"
            }
        }
    }
}
