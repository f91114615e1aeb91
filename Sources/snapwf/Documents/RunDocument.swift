import FoundationEssentials
import SnapshotSteps
import Workflow

/// `snapwf ls --json`
struct RunList: Encodable {
    let schema = 1
    let runs: [RunDocument]
}

/// One run, as `ls` and `show` print it.
struct RunDocument: Encodable {
    let id: String
    let status: String
    let image: String
    /// Where its sandbox is made: `local`, or the address of an API.
    let place: String
    let snapshot: String?
    let error: String?
    let createdAt: Date
    let updatedAt: Date
    let finishedAt: Date?
    /// Where it waits, or waited, for a worker; none for a run that its command executes.
    let queue: Queue?
    /// The batch that it belongs to.
    let batch: String?
    /// What it made; not printed.
    let result: SnapshotResult?
    /// The status for a person; not printed.
    let standing: String

    struct Queue: Encodable {
        let name: String
        let priority: Int
        /// Whether no worker takes it until somebody deals with what stopped it.
        let parked: Bool
    }

    private enum CodingKeys: String, CodingKey {
        case id, status, image, place, snapshot, error, createdAt, updatedAt, finishedAt, queue, batch
    }

    init(_ run: RunRecord) {
        result = run.output.flatMap { try? JSONDecoder().decode(SnapshotResult.self, from: Data($0.utf8)) }
        id = run.id.description
        status = run.status.rawValue
        image = run.labels["image"] ?? "?"
        place = run.labels[GarbageCollector.placeLabel] ?? SandboxPlace.local.description
        snapshot = result?.snapshotID
        error = run.failure?.message
        createdAt = run.createdAt
        updatedAt = run.updatedAt
        finishedAt = run.finishedAt
        queue = run.queueing.map {
            Queue(name: $0.queue, priority: $0.priority, parked: $0.isParked && !run.status.isFinished)
        }
        batch = run.labels[BatchWorkflow.label]
        standing = run.standing
    }
}
