import ArgumentParser
import SnapshotSteps
import Workflow

struct DecideCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "decide",
        abstract: "Answers for a step of which nobody knows whether it happened.",
        discussion: """
            A run stops, and its commands exit with 2, where a step was begun, its end was not recorded, and it must not \
            simply happen twice. Look outside, say what you found, and go on with snapwf resume. snapwf resume --plan RUN \
            names the steps that wait.
            """)

    @Argument(help: "The run's id, any unique prefix of it, or @last.", completion: .resumableRuns)
    var run: String

    @Argument(help: "The step.")
    var step: String

    @Flag(help: "It did not happen, or may happen twice: run it again.")
    var runAgain = false

    @Option(help: ArgumentHelp("It happened, with this output.", valueName: "json"))
    var done: String?

    @Option(help: ArgumentHelp("It failed for good, for this reason.", valueName: "reason"))
    var failed: String?

    @OptionGroup var stored: StoreOptions

    @OptionGroup var options: GlobalOptions

    func validate() throws {
        guard [runAgain, done != nil, failed != nil].filter({ $0 }).count == 1 else {
            throw ValidationError("Say one of --run-again, --done JSON and --failed REASON.")
        }
    }

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let session = try await Session.open(options, stored)
            let decision: InDoubtDecision =
                if let done { .done(output: done) } else if let failed { .failed(reason: failed) } else { .runAgain }
            try await RunActions.perform(on: [self.run], in: session, reporter, options) { record in
                do {
                    try await session.engine.decide(record.id, step: step, decision)
                } catch let error as WorkflowError {
                    switch error.code {
                    case .inDoubt:
                        throw SnapshotError(
                            .usage, "step \"\(step)\" waits for no decision: snapwf resume --plan \(record.id)")
                    case .invalidPayload: throw SnapshotError(.usage, "--done \(done ?? "") is no JSON")
                    default: throw error
                    }
                }
                guard let queue = record.queueing?.queue else {
                    return "decided; go on with it: snapwf resume \(record.id)"
                }
                try await session.engine.unpark(record.id)
                return "decided; a worker of queue \(queue) goes on with it"
            }
        }
    }
}
