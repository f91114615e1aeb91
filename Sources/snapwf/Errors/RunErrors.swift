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

/// A run of a queue waits for somebody: no worker can go on with it.
struct RunParked: Error {
    let run: RunID
    let reason: String
    /// The step that is in doubt, if that is why.
    let step: String?

    init(_ record: RunRecord, in engine: Engine) async throws {
        run = record.id
        reason =
            try await engine.events(of: record.id, limit: 10_000).reasonToPark ?? "it cannot go on by itself"
        step = try await engine.plan(record.id).undecided.first?.record.name
    }
}

extension SnapshotError {
    static func queued(_ id: RunID, _ queueing: RunRecord.Queueing) -> SnapshotError {
        SnapshotError(
            .runQueued,
            "run \(id) is executed by the workers of queue \(queueing.queue): snapwf worker --queue \(queueing.queue)")
    }
}

extension [EventRecord] {
    /// Why the last worker of a run left it to a person.
    var reasonToPark: String? {
        last { $0.kind == "run.parked" }?.payload
            .flatMap { try? JSONDecoder().decode([String: String].self, from: Data($0.utf8)) }?["reason"]
    }
}

extension RunRecord {
    /// How it stands, in the words of `snapwf ls`: a run of a queue is `queued` until a worker has it, and `parked` where none
    /// takes it.
    var standing: String {
        guard let queueing, !status.isFinished else { return status.rawValue }
        if queueing.isParked { return "parked" }
        return status == .pending || status == .interrupted ? "queued" : status.rawValue
    }

    /// Whether nobody goes on with it by himself, though it has not ended.
    var isLeft: Bool { queueing.map(\.isParked) ?? (status == .interrupted) }

    /// Whether its steps are those of another version of the program, which alone can go on with it.
    var isForeign: Bool {
        switch workflow {
        case SnapshotWorkflow.name: version != SnapshotWorkflow.version
        case BatchWorkflow.name: version != BatchWorkflow.version
        default: true
        }
    }

    /// Where its sandbox is made; nil for this machine, and for a workflow of another kind.
    var place: SandboxPlace? {
        (try? JSONDecoder().decode(SnapshotRequest.self, from: Data(input.utf8)))?.place
    }
}
