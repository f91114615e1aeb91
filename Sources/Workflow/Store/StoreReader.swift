/// Reads a store that runs are executed on, and is never in their way.
///
/// For programs that show runs: it opens a store that is there, with a connection that cannot write. It brings no schema
/// up to date, moves no log, makes no file of its own, and takes none of the locks that commits and checkpoints wait
/// for. (Whether a run is held is found out by trying its lock for some microseconds; who claims a run tries again.)
///
/// What it answers was committed. While a process has the store open, SQLite keeps its log and the log's index beside
/// it; where the last one died, the reader finds them and leaves them.
public final class StoreReader: Sendable {
    let store: any ReadOnlyStore

    /// Opens an existing store.
    ///
    /// - Parameters:
    ///   - store: where it is. Of the times only ``StoreConfiguration/busyTimeout``, and of a server
    ///     ``StoreConfiguration/reconnectTimeout``, matter.
    ///   - clock: the clock by which ``plan(_:)`` finds a deadline passed.
    /// - Throws: ``WorkflowError`` with `noStore`, `storeNeedsMigration`, `storeNewerThanProgram`, `storeNotWritable` or
    ///   `storeUnavailable` if it cannot be opened, `storeBusy`, `storeCorrupt` or `storeFailed`.
    public init(store: StoreConfiguration, clock: any EngineClock = SystemClock()) async throws {
        self.store = try await store.openForReading(clock: clock)
    }

    deinit {
        store.stop()
    }

    /// One run, or `nil` if there is none with this id.
    public func run(_ id: RunID) async throws -> RunRecord? {
        try await store.run(id)
    }

    /// All runs whose id begins with `prefix` (case does not matter), newest first, at most 100.
    public func find(prefix: String) async throws -> [RunRecord] {
        try await store.find(prefix: prefix)
    }

    /// Runs, newest first.
    public func runs(_ query: RunQuery = RunQuery()) async throws -> [RunRecord] {
        try await store.runs(query)
    }

    /// The recorded steps and sleeps of a run, in the order in which they first began.
    public func steps(of id: RunID) async throws -> [StepRecord] {
        try await store.steps(of: id)
    }

    /// The ledger entries of a run, oldest first.
    public func resources(of id: RunID) async throws -> [ResourceRecord] {
        try await store.resources(of: id)
    }

    /// The ledger entries of all runs in the given states, oldest first.
    public func resources(states: Set<ResourceRecord.State>) async throws -> [ResourceRecord] {
        try await store.resources(states: states)
    }

    /// Events of a run after the given sequence number, oldest first.
    ///
    /// - Parameters:
    ///   - id: the run.
    ///   - seq: where to go on; 0 for the beginning.
    ///   - limit: 1 to 10 000; other values are brought into that range.
    public func events(of id: RunID, after seq: Int64 = 0, limit: Int = 1000) async throws -> [EventRecord] {
        try await store.page(of: id, after: seq, limit: limit)
    }

    /// Says what a resume would do with the recorded steps and resources, as ``Engine/plan(_:)`` does.
    ///
    /// - Throws: ``WorkflowError`` with `unknownRun` or `alreadyFinished`.
    public func plan(_ id: RunID) async throws -> ResumePlan {
        try await store.plan(id)
    }

    /// Reads the whole database and says what is wrong with it, at most some hundred problems; empty when it is sound.
    ///
    /// It takes seconds for every gigabyte, and this reader's other reading waits for it; runs go on.
    public func checkIntegrity() async throws -> [String] {
        try await store.checkIntegrity()
    }

    /// Who the store is, and whether its runs are here.
    package func standing() async throws -> StoreStanding {
        try await store.standing()
    }

    /// How much is in the store.
    package func figures() async throws -> StoreFigures {
        try await store.figures()
    }

    /// What a person knows the store by: a path, or a server and its database. Never a password.
    package var place: String { store.place }

    /// Closes the connection after what was asked before. Safe to call twice; nothing can be read afterwards.
    public func close() async {
        await store.close()
    }

    /// Shows that the file system of the store keeps locks.
    ///
    /// - Returns: `false` where nothing can be shown, because no engine has made the lock file yet.
    /// - Throws: ``WorkflowError/Code/locksNotKept``.
    package func checkLocks() async throws -> Bool {
        try await store.checkLocks()
    }
}
