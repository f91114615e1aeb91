import ArgumentParser
import Files
import FoundationEssentials
import SnapshotSteps
import Workflow

struct ShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Shows a run: when what happened, its attempts, waits and sandboxes, and what to do next.")

    @Argument(help: "The run's id, any unique prefix of it, or @last.", completion: .runs)
    var run: String = "@last"

    @OptionGroup var stored: StoreOptions

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let reader = try await RecordedRuns.require(stored)
            let record = try await reader.findRun(self.run)
            let resources = try await reader.resources(of: record.id)
            let events = try await reader.allEvents(of: record.id)
            let steps = try await reader.steps(of: record.id)
            let images = record.workflow == BatchWorkflow.name ? try await reader.images(ofBatch: record.id) : []
            await reader.close()
            if options.json {
                try deliver(
                    JSONText.document(
                        RunDetails(run: record, steps: steps, resources: resources, events: events)))
            } else if options.quiet {
                try deliver((RunDocument(record).snapshot ?? record.id.description) + "\n")
            } else {
                let timeline = Timeline(events, isAtWork: record.status != .interrupted)
                let story = RunStory(
                    run: record, resources: resources, timeline: timeline,
                    reasonToPark: record.queueing?.isParked == true && !record.status.isFinished
                        ? events.reasonToPark : nil,
                    images: images)
                try deliver(
                    story.text(
                        now: Date(), width: Terminal.standardOutput.columns, isUTF8: Terminal.isUTF8))
            }
        }
    }
}

extension StoreReader {
    /// In the order in which the batch named them.
    func images(ofBatch id: RunID) async throws -> [RunRecord] {
        try await runs(
            RunQuery(
                workflow: SnapshotWorkflow.name, labels: [BatchWorkflow.label: id.description],
                limit: BatchRequest.largest)
        ).reversed()
    }

    /// The first hundred thousand events of a run; a run has some dozens.
    func allEvents(of id: RunID) async throws -> [EventRecord] {
        var all: [EventRecord] = []
        while all.count < 100_000 {
            let page = try await events(of: id, after: all.last?.seq ?? 0, limit: 10_000)
            if page.isEmpty { break }
            all += page
        }
        return all
    }
}
