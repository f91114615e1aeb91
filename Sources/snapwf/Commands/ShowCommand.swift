import ArgumentParser
import Files
import FoundationEssentials
import SnapshotSteps
import Workflow

struct ShowCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Shows a run: its steps, attempts, sandboxes and what happened when.")

    @Argument(help: "The run's id, any unique prefix of it, or @last.")
    var run: String = "@last"

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            let reader = try await RecordedRuns.require()
            let record = try await reader.findRun(self.run)
            let document = RunDetails(
                run: record, steps: try await reader.steps(of: record.id),
                resources: try await reader.resources(of: record.id),
                events: try await reader.events(of: record.id, after: 0, limit: 10_000))
            await reader.close()
            if options.json {
                try deliver(JSONText.document(document))
            } else if options.quiet {
                try deliver((document.run.snapshot ?? document.run.id) + "\n")
            } else {
                try deliver(document.text)
            }
        }
    }
}

/// `snapwf show --json`
struct RunDetails: Encodable {
    struct Step: Encodable {
        let name: String
        let scope: String
        let state: String
        let attempts: Int
        let crashes: Int
        let error: String?
        let startedAt: Date
        let finishedAt: Date?
    }
    struct Resource: Encodable {
        let name: String
        let generation: Int
        let state: String
        let id: String?
        let error: String?
        let updatedAt: Date
    }
    let schema = 1
    let run: RunDocument
    let heldBy: String?
    let steps: [Step]
    let resources: [Resource]
    let events: [EventDocument]

    init(run: RunRecord, steps: [StepRecord], resources: [ResourceRecord], events: [EventRecord]) {
        self.run = RunDocument(run)
        heldBy = run.holder
        self.steps = steps.map { step in
            Step(
                name: step.name, scope: step.scope, state: step.state.rawValue, attempts: step.attempt,
                crashes: step.crashes, error: step.failure?.message, startedAt: step.startedAt,
                finishedAt: step.finishedAt)
        }
        self.resources = resources.map { resource in
            Resource(
                name: resource.name, generation: resource.generation, state: resource.state.rawValue,
                id: resource.externalID, error: resource.failure?.message, updatedAt: resource.updatedAt)
        }
        self.events = events.map(EventDocument.init)
    }

    var text: String {
        var rows = [
            ["run", run.id], ["status", run.status + (heldBy.map { " (\($0))" } ?? "")], ["image", run.image],
        ]
        if run.place != SandboxPlace.local.description { rows.append(["place", run.place]) }
        if let snapshot = run.snapshot { rows.append(["snapshot", snapshot]) }
        if let finished = run.finishedAt { rows.append(["took", spanText(run.createdAt.distance(to: finished))]) }
        if let error = run.error { rows.append(["error", error]) }
        if run.status == RunStatus.interrupted.rawValue { rows.append(["next", "snapwf resume \(run.id)"]) }
        var text = table(rows)
        if !steps.isEmpty {
            text += "\n" + table([["STEP", "STATE", "ATTEMPTS", "TOOK", "NOTE"]] + steps.map(row))
        }
        if !resources.isEmpty {
            text +=
                "\n"
                + table(
                    [["RESOURCE", "GENERATION", "STATE", "ID"]]
                        + resources.map { [$0.name, "\($0.generation)", $0.state, $0.id ?? "-"] })
        }
        return text
    }

    private func row(_ step: Step) -> [String] {
        let took = step.finishedAt.map { spanText(step.startedAt.distance(to: $0)) } ?? "-"
        var notes: [String] = []
        if step.crashes > 0 { notes.append("\(step.crashes) died with their process") }
        if let error = step.error { notes.append(error) }
        return [step.name, step.state, "\(step.attempts)", took, notes.joined(separator: "; ")]
    }
}

extension RunRecord {
    /// The process that works on it, if there is one.
    var holder: String? {
        guard status == .running || status == .sleeping else { return nil }
        return owner.map { "process \($0.pid) on \($0.host)" }
    }
}
