/// One change of what is recorded about a run. Every store applies it only if the writer's epoch is still the run's.
enum RunWrite: Sendable {
    /// A new attempt of a step, or a sleep, is about to begin. The log tells of it without an event of its own.
    case intent(StepIntent)
    /// The attempt has an output. The log tells of it without an event of its own.
    case done(StepAttempt, output: String)
    /// The attempt has no output.
    case failed(StepAttempt, StepEnding)
    /// The attempt got further.
    case progress(StepAttempt, String)
    /// The operator decided about a step in doubt.
    case decide(step: String, InDoubtDecision)
    /// The run works or sleeps.
    case status(RunStatus, wakeAt: Timestamp?)
    /// The run has ended.
    case finish(RunStatus, output: String?, failure: Failure?)
    /// A resource is about to be created.
    case resourceIntent(ResourceIntent)
    /// The resource exists.
    case resourceHeld(key: String, externalID: String, handle: String)
    /// The resource's entry goes from one of some states to another.
    case resourceState(key: String, from: [ResourceRecord.State], to: ResourceRecord.State)
    /// A call to create or release the resource failed.
    case resourceFailed(key: String, failures: Int, failure: Failure, nextAttemptAt: Timestamp?)
    /// Another run begins on behalf of this one.
    case child(NewChild)
    /// A wait of the run takes a signal; no other one will.
    case receive(signal: Int64, by: String)
    /// The run's worker lets go of it.
    case rest(RunRest)
    /// Something for the log.
    case event(NewEvent)
}

extension RunWrite {
    /// Whether others may wait for it: a worker for a run or a place in its queue, a run for the end of another one.
    var isNews: Bool {
        switch self {
        case .finish, .child, .rest, .status(.sleeping, _): true
        default: false
        }
    }
}

/// Which attempt of which step in which generation.
struct StepAttempt: Sendable, Hashable {
    let key: String
    let scope: String
    let attempt: Int
}

/// Everything that is known about an attempt before it begins.
struct StepIntent: Sendable {
    let attempt: StepAttempt
    let kind: StepRecord.Kind
    let generation: Int
    let failures: Int
    let crashes: Int
    let idempotencyKey: String
    let policy: StepRecord.Policy
    let input: String?
    let inputHash: String?
    let progress: String?
    /// When a sleep ends.
    let wakeAt: Timestamp?
    let deadlineAt: Timestamp?
}

/// How an attempt ended without an output.
struct StepEnding: Sendable {
    /// `failed`, or `intended` while the outcome is in doubt.
    let state: StepRecord.State
    let failures: Int
    let crashes: Int
    let failure: Failure
    let nextAttemptAt: Timestamp?
    /// The last progress report.
    let progress: String?
    /// Whether the step is over.
    let isFinal: Bool
}

/// Everything that is known about a resource before it exists.
struct ResourceIntent: Sendable {
    let key: ResourceKey
    let kind: String
    let scope: String
}

/// A line for the log.
struct NewEvent: Sendable {
    let kind: String
    let name: String?
    let attempt: Int?
    let payload: String?
    /// An event with a key that the run's log already has adds nothing.
    let dedupKey: String?

    init(_ kind: String, name: String? = nil, attempt: Int? = nil, json: String? = nil, dedupKey: String? = nil) {
        self.kind = kind
        self.name = name
        self.attempt = attempt
        self.payload = json
        self.dedupKey = dedupKey
    }

    init(_ kind: String, name: String? = nil, attempt: Int? = nil, payload: some Encodable) {
        self.init(kind, name: name, attempt: attempt, json: Payload.text(of: payload))
    }
}

/// Whether a commit waits for company.
enum WriteUrgency: Sendable {
    /// As soon as the writer is free.
    case now
    /// With the next commit, or alone after the flush delay.
    case withNext
}

/// Changes that are applied together or not at all.
struct WriteBatch: Sendable {
    let run: RunID
    let epoch: Int
    let writes: [RunWrite]
    let urgency: WriteUrgency
    /// Called inside the transaction, when the changes are made and not yet committed.
    var during: (@Sendable () -> Void)?
    /// Of a run that began before it was recorded: nothing may reach another one that has its id.
    var isMade: Slot<Bool>?
}

/// A run about to be recorded.
struct NewRun: Sendable {
    let id: RunID
    let workflow: String
    let version: Int
    let input: String
    let inputHash: String
    let dedupKey: String?
    let labels: [String: String]
    /// When it has to be over.
    var deadlineAt: Timestamp? = nil
    /// Where it waits for a worker; `nil` for a run that begins at once.
    var place: QueuePlace? = nil
    /// Called inside the transaction, when the run is made and not yet committed.
    var during: (@Sendable () -> Void)?
    /// Whether it could be made.
    let isMade = Slot<Bool>()
}
