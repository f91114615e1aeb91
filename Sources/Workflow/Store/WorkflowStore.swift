/// Where runs live. Clocks, claims and locks are the store's, so that a store shared by many machines can use its
/// database's clock and leases where the store of one machine uses the wall clock and file locks.
///
/// Writes of one run are applied in the order of their submission, and their completions are called in that order,
/// after the commit.
protocol WorkflowStore: StoreReading {
    /// How many transactions were committed.
    var commitCount: Int { get }

    /// Lets who waits for a commit watch for it.
    var watch: CommitWatch { get }

    /// Whether so much waits to be written that whoever adds to it should wait.
    var isCongested: Bool { get }

    /// Records a new run and claims it with epoch 1. Submitted at once; `completion` is called after the commit.
    func create(
        _ run: NewRun, owner: RunOwner, urgency: WriteUrgency,
        completion: @escaping @Sendable (Result<Creation, any Error>) -> Void)

    /// Takes a run that nobody holds, and raises its epoch.
    ///
    /// - Parameter during: called inside the transaction, when the run is taken and that is not yet committed.
    func claim(
        _ id: RunID, owner: RunOwner, purpose: ClaimPurpose, during: (@Sendable () -> Void)?
    ) async throws -> ClaimResult

    /// Lets a run go. `isOver` says that nobody will claim it again.
    func relinquish(_ claim: any RunClaim, isOver: Bool) async

    /// Applies changes; `completion` is called after the commit, on a thread of the store.
    func submit(_ batch: WriteBatch, completion: @escaping @Sendable (Result<Void, any Error>) -> Void)

    /// Returns once everything submitted before is committed.
    func flush() async throws

    /// Records the wish to cancel an unfinished run.
    func requestCancellation(_ id: RunID) async throws

    /// The unfinished runs that somebody wants cancelled.
    func cancellationRequests() async throws -> [RunID]

    /// Returns when it is time to look for cancellations again: after `interval`, or when a store that is told of them by
    /// others was told of one.
    func awaitCancellationRequests(polling interval: Duration) async throws

    // MARK: Queues

    /// Records a new run that waits in a queue for a worker.
    func enqueue(_ run: NewRun, place: QueuePlace) async throws -> Enqueued

    /// Sets what holds for all workers of a queue, whatever held before.
    func configure(_ queue: QueueSettings) async throws

    /// Makes a queue known that is new, without limits; one that is known stays as it is.
    func introduce(queue: String) async throws

    /// Claims runs that wait in a queue: first those whose worker died or let them go, then by priority, turn and age. No
    /// more than the queue's limits allow.
    func take(_ request: QueueRequest, owner: RunOwner) async throws -> QueueAnswer

    /// Lets a run that slept work again, if its queue has a place for it.
    ///
    /// - Returns: whether it has.
    func rouse(_ id: RunID, epoch: Int, queue: String) async throws -> Bool

    /// Lets a parked run be taken by a worker again.
    ///
    /// - Returns: whether it was parked.
    func unpark(_ id: RunID) async throws -> Bool

    /// What one listener hears of this store.
    func news() -> StoreNews

    // MARK: Signals and children

    /// Records a signal for an unfinished run.
    ///
    /// - Returns: `false` if the run has one with this name and key already.
    func send(_ signal: NewSignal) async throws -> Bool

    /// The oldest signal of each name that the runs have not received.
    func signals(of runs: [RunID]) async throws -> [PendingSignal]

    /// Those of the runs that have ended.
    func ended(among runs: [RunID]) async throws -> [RunRecord]

    /// The runs that a run started, by the names that it gave them.
    func children(of id: RunID) async throws -> [RunRecord]

    /// Asks for the cancellation of what a run started and what that started, with the next commit.
    func cancelChildren(of id: RunID, epoch: Int)

    // MARK: Ends

    /// Deletes a finished run without open resources.
    ///
    /// - Returns: whether there was one with this id.
    func deleteRun(_ id: RunID) async throws -> Bool

    /// Deletes finished runs that ended before `cutoff`, except the newest `keep` and those with open resources.
    func deleteFinishedRuns(before cutoff: Timestamp, keep: Int) async throws -> Int

    /// Forgets everything at once, as a crash would: nothing is written any more and every claim is let go.
    func sever()

    /// Commits what waits and closes.
    func close() async
}

/// A run held by this process.
protocol RunClaim: Sendable {
    var id: RunID { get }
    /// The fencing number that every write of this claim names.
    var epoch: Int { get }
    /// Has `act` called once if the store finds that the run is not held any more: at once if it has.
    func whenLost(_ act: @escaping @Sendable (WorkflowError) -> Void)
    /// Finds at once that the run is not held any more if time alone says so: for who woke from a sleep of the whole process.
    func checkTerm()
}

extension RunClaim {
    /// The lock file of a living process is never lost.
    func whenLost(_ act: @escaping @Sendable (WorkflowError) -> Void) {}
    func checkTerm() {}
}

/// Why a run is claimed.
enum ClaimPurpose: Sendable {
    /// To execute it: it must not be finished.
    case execution
    /// To clean up after it, whatever its state; its status and owner stay.
    case collection
    /// To change it while nobody executes it: it must not be finished; its status and owner stay.
    case decision
}

/// What came of recording a run.
enum Creation: Sendable {
    case created(any RunClaim)
    /// An unfinished or succeeded run has the same dedup key.
    case existing(RunRecord)
}

/// What came of recording a run for a queue.
enum Enqueued: Sendable {
    case recorded
    /// An unfinished or succeeded run has the same dedup key.
    case existing(RunRecord)
}

/// What came of claiming a run.
enum ClaimResult: Sendable {
    case claimed(Claimed)
    case held(by: RunOwner?)
    case finished(RunStatus)
    case unknown
}

/// A claimed run with everything recorded about it.
struct Claimed: Sendable {
    let claim: any RunClaim
    let record: RunRecord
    let steps: [StepRecord]
    let resources: [ResourceRecord]
}

extension WorkflowStore {
    func awaitCancellationRequests(polling interval: Duration) async throws {
        try await Task.sleep(for: interval, clock: .continuous)
    }

    func claim(_ id: RunID, owner: RunOwner, purpose: ClaimPurpose) async throws -> ClaimResult {
        try await claim(id, owner: owner, purpose: purpose, during: nil)
    }

    /// Applies changes at once and returns after their commit.
    func commit(_ writes: [RunWrite], run: RunID, epoch: Int) async throws {
        try await commit(WriteBatch(run: run, epoch: epoch, writes: writes, urgency: .now))
    }

    /// Applies changes and returns after their commit.
    func commit(_ batch: WriteBatch) async throws {
        try await watch.outcome { completion in
            submit(batch, completion: completion)
        }
    }
}
