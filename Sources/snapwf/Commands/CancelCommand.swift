import ArgumentParser
import Files
import FoundationEssentials
import HelperInterface
import SnapshotSteps
import Workflow

struct CancelCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cancel",
        abstract: "Ends runs before their end, and kills their sandboxes.",
        discussion: """
            A run at work is told within a second, whichever process works on it; an interrupted one is ended here. A run \
            that has ended already stays as it is, and that is no error. Snapshots are not touched.
            """)

    @Argument(
        help: ArgumentHelp("The runs: ids, unique prefixes of them, or @last.", valueName: "run"),
        completion: .unfinishedRuns)
    var runs: [String]

    @Flag(name: .customLong("no-wait"), help: "Do not wait until the sandboxes are gone.")
    var noWait = false

    @Option(help: "The token for the API that the runs' sandboxes came from. Better in the environment.")
    var token: String?

    @OptionGroup var stored: StoreOptions

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let session = try await Session.open(options, stored)
            let canceller = RunCanceller(session: session, token: token, waits: !noWait)
            try await RunActions.perform(on: runs, in: session, reporter, options) { record in
                try await canceller.cancel(record)
            }
        }
    }
}

/// Cancels runs and sees to it that what they own ends.
@MainActor
struct RunCanceller {
    let session: Session
    let token: String?
    let waits: Bool

    /// How long a run may take to let go of its sandbox.
    private static let patience = Duration.seconds(120)

    /// - Returns: what became of the run.
    func cancel(_ record: RunRecord) async throws -> String {
        if record.status.isFinished { return "had \(record.status.rawValue) already" }
        do {
            let isHeld = try await session.engine.cancel(record.id)
            guard waits || !isHeld else { return "is being cancelled" }
            return try await isHeld ? end(of: record.id) : release(record)
        } catch let error as WorkflowError {
            guard case .alreadyFinished(let status) = error.code else { throw error }
            return "had \(status.rawValue) already"
        }
    }

    /// Nobody works on it: to go on with it is to release what it owns.
    private func release(_ record: RunRecord) async throws -> String {
        session.name(record.place, token: token)
        if let place = record.place { try await Preflight.reach(place, in: session.environment) }
        do {
            try session.registerWorkflows()
            let handle = try await session.engine.resume(record.id)
            _ = try await handle.result()
            return "had succeeded already"
        } catch let error as WorkflowError {
            switch error.code {
            case .cancelled: return "cancelled"
            case .runHeld, .alreadyFinished: return try await end(of: record.id)
            case .runFailed: return "failed"
            default: throw error
            }
        }
    }

    private func end(of id: RunID) async throws -> String {
        let deadline = ContinuousClock.now + Self.patience
        while ContinuousClock.now < deadline {
            guard let record = try await session.engine.run(id) else { return "is gone" }
            if record.status.isFinished { return record.status.rawValue }
            // Whoever worked on it died meanwhile.
            if record.status == .interrupted { return try await release(record) }
            try await Task.sleep(for: .milliseconds(100))
        }
        throw SnapshotError(
            .unavailable,
            "run \(id) was told to end and has not within \(spanText(Self.patience)); look at it: snapwf show \(id)")
    }
}
