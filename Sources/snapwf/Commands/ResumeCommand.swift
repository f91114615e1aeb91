import ArgumentParser
import Files
import FoundationEssentials
import HelperInterface
import SnapshotSteps
import Workflow

struct ResumeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "resume",
        abstract: "Goes on with an interrupted run, in the same sandbox where it still lives.",
        discussion: """
            With --plan nothing happens: it prints what a resume would do with what is recorded, and exits 2 where a \
            step needs somebody's decision first (-q prints only the names of such steps).
            """)

    @Argument(help: "The run's id, any unique prefix of it, or @last.", completion: .resumableRuns)
    var run: String

    @Option(help: "How to tell progress on standard error: auto, tty, plain, json or none.")
    var progress: ProgressMode = .auto

    @Flag(help: "Say what would become of each recorded step and resource; change nothing.")
    var plan = false

    @Option(
        help: """
            The token for the API that the run's sandbox came from. Better in the environment: DEPOT_TOKEN or \
            SNAPWF_TOKEN.
            """)
    var token: String?

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: progress)
        try await reporter.reportingErrors {
            if plan { return try await showPlan() }
            let session = try await Session.open(options, onProgress: { reporter.show($0) })
            let record = try await session.engine.findRun(self.run)
            session.name(record.place, token: token)
            let driver = RunDriver(session: session, reporter: reporter)
            if record.status.isFinished {
                reporter.note("run \(record.id) has ended already: it \(record.status.rawValue)")
                try await driver.report(finished: record)
            } else {
                try await driver.resume(record.id)
            }
        }
    }

    private func showPlan() async throws {
        let reader = try await RecordedRuns.require()
        let plan = try await reader.plan(reader.findRun(run).id)
        await reader.close()
        let document = PlanDocument(plan, now: Date())
        if options.json {
            try deliver(JSONText.document(document))
        } else if options.quiet {
            for name in document.undecided { try deliver(name + "\n") }
        } else {
            try deliver(document.text)
        }
        if !document.undecided.isEmpty { throw Exit(.inDoubt) }
    }
}
