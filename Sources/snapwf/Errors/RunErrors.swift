import Files
import FoundationEssentials
import SnapshotSteps
import Workflow

/// Runs were told to stop and can go on.
struct RunInterrupted: Error {
    let runs: [RunID]
}

/// The run met what only somebody outside can mend, and can go on then.
struct RunStopped: Error {
    let run: RunID
    let error: WorkflowError

    /// The step that is in doubt, if that is why.
    var step: String? {
        if case .inDoubt(let step) = error.code { step } else { nil }
    }
}

/// The snapshot is made, but the result could not be written to standard output.
struct ResultNotTold: Error {
    let run: String
    let snapshot: String
    let cause: FileError
}

/// The run ended without a snapshot.
struct RunFailure: Error {
    let run: RunID
    let status: RunStatus
    /// The step that failed for good, and what it said.
    let step: StepRecord?
    let failure: Failure?

    init(run: RunID, status: RunStatus, failure: Failure?, steps: [StepRecord]) {
        self.run = run
        self.status = status
        step = steps.last { $0.state == .failed && ($0.name == failure?.step || failure?.step == nil) }
        self.failure = step?.failure ?? failure
    }

    /// The project's own error, when it was one.
    var snapshotError: SnapshotError? { failure?.decoded(as: SnapshotError.self) }
}

extension RunRecord {
    /// Where its sandbox is made; nil for this machine, and for a workflow of another kind.
    var place: SandboxPlace? {
        (try? JSONDecoder().decode(SnapshotRequest.self, from: Data(input.utf8)))?.place
    }
}
