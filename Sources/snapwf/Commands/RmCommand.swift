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
                    throw try await refusal(record, status, session.engine)
                }
                return "deleted"
            }
        }
    }

    /// Why a run stays, and what helps.
    private func refusal(_ run: RunRecord, _ status: RunStatus, _ engine: Engine) async throws -> SnapshotError {
        guard status.isFinished else {
            let standing = try await engine.run(run.id)?.standing ?? status.rawValue
            return SnapshotError(
                .runUnfinished, "run \(run.id) has not ended, it is \(standing): snapwf rm --force \(run.id)")
        }
        if let batch = run.parent?.id, try await engine.run(batch) != nil {
            return SnapshotError(.runUnfinished, "run \(run.id) belongs to batch \(batch): snapwf rm \(batch)")
        }
        if try await engine.children(of: run.id).contains(where: { !$0.status.isFinished }) {
            return SnapshotError(
                .runUnfinished, "batch \(run.id) has ended, its images have not: snapwf show \(run.id)")
        }
        return SnapshotError(
            .runUnfinished, "run \(run.id) has ended, but its sandbox may still be there: snapwf gc, then again")
    }
}
