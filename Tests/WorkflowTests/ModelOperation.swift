import Workflow

/// One call of a store, with everything in it that was random. `site` says which of the two stores is called.
enum ModelOperation: Sendable {
    case create(site: Int, ModelNewRun)
    case claim(site: Int, RunID, ModelPurpose)
    /// Both stores claim the run at once.
    case race(RunID, ModelPurpose)
    case relinquish(site: Int, RunID, isOver: Bool)
    /// Submitted one after the other, then all are waited for.
    case submit(site: Int, [ModelBatch])
    case requestCancellation(site: Int, RunID)
    case cancellationRequests(site: Int)
    case delete(site: Int, age: Int64, keep: Int)
    case isHeld(site: Int, RunID)
    case run(site: Int, RunID)
    case prefix(site: Int, String)
    case query(site: Int, RunQuery)
    case steps(site: Int, RunID)
    case resources(site: Int, RunID)
    case ledger(site: Int, Set<ResourceRecord.State>)
    /// The part of the log that begins after so many events.
    case events(site: Int, RunID, skipping: Int, limit: Int)
    case flush(site: Int)
    /// The store forgets everything while the batches are under way, and is opened again.
    case crash(site: Int, underWay: [ModelBatch])
    /// The store is closed in good order right after the batches were submitted, and is opened again.
    case reopen(site: Int, underWay: [ModelBatch])
    case advance(milliseconds: Int64)

    /// What the statistics call it.
    var kind: String {
        switch self {
        case .create(_, let run): run.dedupKey == nil ? "create" : "create with a dedup key"
        case .claim(_, _, let purpose): "claim for \(purpose)"
        case .race: "race for a claim"
        case .relinquish: "relinquish"
        case .submit: "submit"
        case .requestCancellation: "request a cancellation"
        case .cancellationRequests: "read the cancellation requests"
        case .delete: "delete finished runs"
        case .isHeld: "ask whether held"
        case .run, .prefix, .query: "read runs"
        case .steps: "read steps"
        case .resources, .ledger: "read resources"
        case .events: "read events"
        case .flush: "flush"
        case .crash: "crash"
        case .reopen: "close and reopen"
        case .advance: "advance the clock"
        }
    }

    /// The changes of runs that it asks for.
    var batches: [ModelBatch] {
        switch self {
        case .submit(_, let batches), .crash(_, let batches), .reopen(_, let batches): batches
        default: []
        }
    }
}

/// A run that is to be recorded.
struct ModelNewRun: Sendable {
    let id: RunID
    let workflow: String
    let input: String
    let dedupKey: String?
    let labels: [String: String]
    let deadlineAt: Int64?
    let isUrgent: Bool
}

enum ModelPurpose: Sendable, CaseIterable {
    case execution
    case collection
    case decision
}
