import FoundationEssentials
import SnapshotSteps
import Workflow

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
    /// Why no worker goes on with it.
    let parkedBecause: String?
    /// What became of the images of a batch.
    let images: [BatchResult.Row]?
    let steps: [Step]
    let resources: [Resource]
    let timeline: [Timeline.Span]
    let events: [EventDocument]

    init(run: RunRecord, steps: [StepRecord], resources: [ResourceRecord], events: [EventRecord]) {
        self.run = RunDocument(run)
        heldBy = run.holder
        parkedBecause = self.run.queue?.parked == true ? events.reasonToPark : nil
        images = BatchResult(run)?.rows
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
        timeline = Timeline(events, isAtWork: run.status != .interrupted).spans
        self.events = events.map { EventDocument($0) }
    }
}
