/// What a store is asked and answers about queues, signals and children.

/// How a run waits for a worker.
struct QueuePlace: Sendable {
    let queue: String
    let priority: Int
    /// Not before this time; at once when `nil`.
    let notBefore: Timestamp?
}

/// What holds for all workers of a queue, as the store keeps it.
struct QueueSettings: Sendable, Hashable {
    let name: String
    let concurrency: Int?
    let rateLimit: Int?
    /// In milliseconds.
    let ratePeriod: Int64?
    let fairness: String?
}

/// A workflow that a worker can execute.
struct KnownWorkflow: Sendable, Hashable {
    let name: String
    let version: Int
}

/// A worker asks for runs of a queue.
struct QueueRequest: Sendable {
    let queue: String
    let workflows: [KnownWorkflow]
    /// How many at most, at least 1.
    let limit: Int
}

/// What a worker got.
struct QueueAnswer: Sendable {
    /// With the highest priority first.
    let claimed: [Claimed]
    /// After how long another one may become due by time alone; `nil` if nobody knows.
    let nextDue: Duration?
}

/// How a worker lets go of a run that is not over.
enum RunRest: String, Sendable, Hashable {
    /// For the next worker.
    case yielded
    /// For a person: no worker takes it.
    case parked
}

/// A child about to be recorded.
struct NewChild: Sendable {
    let id: RunID
    let name: String
    let workflow: String
    let version: Int
    let input: String
    let inputHash: String
    let labels: [String: String]
    let deadlineAt: Timestamp?
    let place: QueuePlace
}

/// A signal about to be recorded.
struct NewSignal: Sendable {
    let run: RunID
    let name: String
    let key: String
    let payload: String
}

/// A recorded signal that no wait has received yet.
struct PendingSignal: Sendable, Hashable {
    let run: RunID
    let name: String
    let seq: Int64
    let payload: String

    /// How many of one run may wait at most.
    static let limit = 10_000
}

extension WorkflowError {
    static func tooManySignals(_ id: RunID) -> WorkflowError {
        WorkflowError(
            .tooManySignals,
            "run \(id) has \(PendingSignal.limit) signals that it has not received: wait until it does, or cancel it")
    }
}
