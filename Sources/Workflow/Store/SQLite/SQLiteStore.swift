import Foundation
import GRDB
import Logging

/// The store of one machine: SQLite for the rows, `flock` for the claims, the wall clock for the times.
final class SQLiteStore: WorkflowStore, SQLiteReading {
    let clock: any EngineClock
    let reader: SQLiteReader
    let writer: SQLiteWriter
    let locks: RunLocks
    /// Of all that listen in this process.
    let bells = Bells()

    private init(clock: any EngineClock, reader: SQLiteReader, writer: SQLiteWriter, locks: RunLocks) {
        self.clock = clock
        self.reader = reader
        self.writer = writer
        self.locks = locks
    }

    static func open(
        _ configuration: StoreConfiguration, clock: any EngineClock, metrics: StoreMetrics
    ) async throws -> SQLiteStore {
        var configuration = configuration
        configuration.path = try StorePath.absolute(configuration.path)
        let writer = try await SQLiteWriter.open(configuration, metrics)
        return SQLiteStore(
            clock: clock, reader: SQLiteReader(configuration), writer: writer,
            locks: RunLocks(directory: configuration.path + ".locks"))
    }

    var commitCount: Int { writer.commitCount }

    var watch: CommitWatch { writer.watch }

    var isCongested: Bool { writer.backlog > 1000 }

    var now: Timestamp { Timestamp(clock.now()) }

    func submit(_ batch: WriteBatch, completion: @escaping @Sendable (Result<Void, any Error>) -> Void) {
        writer.submit(
            SQLiteOperation(urgency: batch.urgency) { [self] session in
                if batch.isMade?.value == false { throw WorkflowError.takenOver(batch.run) }
                let writer = RunWriter(
                    session: session, run: batch.run, no: try session.number(of: batch.run), epoch: batch.epoch,
                    now: now)
                for write in batch.writes { try writer.apply(write) }
                batch.during?()
            } completion: { [self] error in
                completion(error.map { .failure($0) } ?? .success(()))
                if batch.writes.contains(where: \.isNews) { bells.ring() }
            })
    }

    func flush() async throws {
        // An operation without a statement still ends the wait of those before it.
        try await writer.perform { _ in }
    }

    func requestCancellation(_ id: RunID) async throws {
        try await writer.perform { [self] session in
            let db = session.db
            try db.execute(
                sql: """
                    UPDATE runs SET cancel_requested_at = coalesce(cancel_requested_at, ?), updated_at = ?
                    WHERE id = ? AND finished_at IS NULL
                    """,
                arguments: [now.milliseconds, now.milliseconds, id.description])
            guard db.changesCount == 1 else {
                guard let status = try status(of: id, db) else { throw WorkflowError.unknownRun(id) }
                throw WorkflowError.alreadyFinished(id, status)
            }
            let no = try session.number(of: id)
            try append("run.cancel_requested", run: no, session)
            try endUnbegun(no, session)
            try cancelDescendants(of: no, session)
        }
        bells.ring()
    }

    func cancellationRequests() async throws -> [RunID] {
        try await reader.read { db in
            try String.fetchAll(
                db, sql: "SELECT id FROM runs WHERE cancel_requested_at IS NOT NULL AND finished_at IS NULL"
            ).compactMap { RunID($0) }
        }
    }

    /// What keeps the records of a finished run: something it made may still exist, or a run that it started, at whatever
    /// remove, has not ended.
    private static let ownsNothing = """
        NOT EXISTS (
            SELECT 1 FROM resources WHERE run_no = runs.no AND state IN ('intended', 'held', 'releasing'))
        AND NOT EXISTS (
            WITH RECURSIVE family (no) AS (
                SELECT no FROM runs AS children WHERE children.parent_no = runs.no
                UNION ALL SELECT children.no FROM runs AS children JOIN family ON children.parent_no = family.no)
            SELECT 1 FROM family JOIN runs AS members ON members.no = family.no
            WHERE members.finished_at IS NULL OR EXISTS (
                SELECT 1 FROM resources
                WHERE run_no = members.no AND state IN ('intended', 'held', 'releasing')))
        """

    /// A child goes with its parent, which would start it again.
    private static let isNoChild = "parent_no IS NULL"

    func deleteRun(_ id: RunID) async throws -> Bool {
        try await writer.perform { session in
            try session.db.execute(
                sql:
                    "DELETE FROM runs WHERE id = ? AND finished_at IS NOT NULL AND \(Self.isNoChild) AND \(Self.ownsNothing)",
                arguments: [id.description])
            return session.db.changesCount == 1
        }
    }

    func deleteFinishedRuns(before cutoff: Timestamp, keep: Int) async throws -> Int {
        let batch = 100
        var total = 0
        while true {
            let deleted = try await writer.perform { session in
                try session.db.execute(
                    sql: """
                        DELETE FROM runs WHERE no IN (
                            SELECT no FROM runs
                            WHERE finished_at < :cutoff
                                AND no NOT IN (
                                    SELECT no FROM runs WHERE finished_at IS NOT NULL
                                    ORDER BY finished_at DESC, id DESC LIMIT :keep)
                                AND \(Self.isNoChild) AND \(Self.ownsNothing)
                            ORDER BY finished_at LIMIT :batch)
                        """,
                    arguments: ["cutoff": cutoff.milliseconds, "keep": keep, "batch": batch])
                return session.db.changesCount
            }
            total += deleted
            if deleted < batch { return total }
        }
    }

    func sever() {
        writer.sever()
        reader.stop()
        locks.letGoAll()
    }

    func close() async {
        // The reader first: SQLite empties the log when the last connection closes, and a reading one cannot.
        await reader.close()
        await writer.stop()
        locks.letGoAll()
    }

    /// Appends to the log something that needs no claim.
    func append(_ kind: String, run no: Int64, _ session: WriteSession) throws {
        try session.db.cachedStatement(sql: "INSERT INTO events (seq, run_no, at, kind) VALUES (?, ?, ?, ?)")
            .execute(arguments: [try session.sequence.next(session.db), no, now.milliseconds, kind])
    }

    func status(of id: RunID, _ db: Database) throws -> RunStatus? {
        try String.fetchOne(db, sql: "SELECT status FROM runs WHERE id = ?", arguments: [id.description])
            .flatMap { RunStatus(rawValue: $0) }
    }
}

extension WorkflowError {
    static func unknownRun(_ id: RunID) -> WorkflowError {
        WorkflowError(.unknownRun, "there is no run \(id): list the runs to find its id")
    }

    static func alreadyFinished(_ id: RunID, _ status: RunStatus) -> WorkflowError {
        WorkflowError(.alreadyFinished(status), "run \(id) has already ended (\(status.rawValue)): start a new one")
    }
}
