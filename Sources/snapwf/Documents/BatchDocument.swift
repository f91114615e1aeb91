import FoundationEssentials
import SnapshotSteps
import Workflow

/// `snapwf submit --batch FILE --wait --json`
struct BatchDocument: Encodable {
    let schema = 1
    /// The batch's own run.
    let batch: String
    let images: [BatchResult.Row]
}

/// `snapwf submit --json`
struct SubmittedDocument: Encodable {
    struct Run: Encodable {
        let id: String
        /// Where it waits for a worker; none for a run that a command executes.
        let queue: String?
        let image: String
        let status: String
        /// That it waits for a person: `snapwf resume`. Missing otherwise.
        let parked: Bool?
        /// As `snapwf ls` shows it; not written.
        let standing: String
        /// Whether somebody had asked for the same before.
        let existing: Bool

        private enum CodingKeys: String, CodingKey {
            case id, queue, image, status, parked, existing
        }

        /// One that was recorded a moment ago.
        init(new id: RunID, queue: String, image: String) {
            self.id = id.description
            self.queue = queue
            self.image = image
            status = RunStatus.pending.rawValue
            parked = nil
            standing = "queued"
            existing = false
        }

        /// One that somebody had asked for before.
        init(found run: RunRecord, image: String) {
            id = run.id.description
            queue = run.queueing?.queue
            self.image = image
            status = run.status.rawValue
            parked = run.queueing.flatMap { $0.isParked ? true : nil }
            standing = run.standing
            existing = true
        }
    }

    let schema = 1
    let runs: [Run]
}

extension BatchResult {
    /// - Returns: nil for a run that is no batch, or has not succeeded.
    init?(_ run: RunRecord) {
        guard run.workflow == BatchWorkflow.name, let output = run.output else { return nil }
        guard let result = try? JSONDecoder().decode(BatchResult.self, from: Data(output.utf8)) else { return nil }
        self = result
    }
}
