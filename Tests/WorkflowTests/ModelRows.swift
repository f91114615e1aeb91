import Workflow

/// What the model keeps of a run. Times are milliseconds since 1970.
struct ModelRun: Equatable, Sendable {
    let id: RunID
    let workflow: String
    let version: Int
    let input: String
    let inputHash: String
    let dedupKey: String?
    let labels: [String: String]
    let createdAt: Int64
    var deadlineAt: Int64?
    /// By the row alone.
    var recorded: RunStatus
    /// As it is shown: an unfinished run that nobody holds is interrupted.
    var shown: RunStatus
    var epoch: Int
    var owner: RunOwner?
    var wakeAt: Int64?
    var cancelRequestedAt: Int64?
    var output: String?
    var failure: Failure?
    var updatedAt: Int64
    var finishedAt: Int64?
}

struct ModelStep: Equatable, Sendable {
    let name: String
    var kind: StepRecord.Kind
    var scope: String
    var generation: Int
    var state: StepRecord.State
    var attempt: Int
    var failures: Int
    var crashes: Int
    var idempotencyKey: String
    var policy: StepRecord.Policy
    var input: String?
    var inputHash: String?
    var output: String?
    var failure: Failure?
    var progress: String?
    var nextAttemptAt: Int64?
    var deadlineAt: Int64?
    var startedAt: Int64
    var finishedAt: Int64?
}

struct ModelResource: Equatable, Sendable {
    let run: RunID
    let key: String
    let name: String
    let kind: String
    let scope: String
    let generation: Int
    let intendedAt: Int64
    var state: ResourceRecord.State
    var externalID: String?
    var handle: String?
    var failures: Int
    var failure: Failure?
    var updatedAt: Int64
}

/// Without its number, of which only the order matters.
struct ModelEvent: Equatable, Sendable {
    let at: Int64
    let kind: String
    var name: String?
    var attempt: Int?
    var payload: String?
}

/// What a store answered, or should have.
enum ModelAnswer: Equatable, Sendable {
    case done
    case created(epoch: Int)
    case existing(ModelRun)
    case claimed(ModelRun, [ModelStep], [ModelResource])
    case held(by: RunOwner?)
    case finished(RunStatus)
    case unknown
    case refused(WorkflowError.Code)
    case many([ModelAnswer])
    case flag(Bool)
    case count(Int)
    case ids(Set<RunID>)
    case runs([ModelRun])
    case steps([ModelStep])
    case resources([ModelResource])
    case events([ModelEvent])
    /// Not an answer that a store may give.
    case defect(String)
}
