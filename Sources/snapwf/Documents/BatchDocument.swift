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
        /// Whether somebody had asked for the same before.
        let existing: Bool
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
