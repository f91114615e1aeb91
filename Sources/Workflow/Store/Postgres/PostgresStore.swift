import Foundation
import Glibc

/// The store of many machines: PostgreSQL for the rows, and leases by its clock for the claims. The times in the records
/// are those of the engine's clock.
final class PostgresStore: WorkflowStore, PostgresReading {
    let clock: any EngineClock
    let reader: PostgresReader
    let writer: CommitThread<WritingServer>
    let keeper: LeaseKeeper
    /// Who this store is, in the table of leases.
    let owner: String

    /// How often cancellations are looked for that no notification told of.
    private static let slowPoll: Duration = .seconds(5)

    /// What notifications are sent over, as SQL: one channel for each schema.
    static let channel = "('workflow_' || (SELECT oid FROM pg_namespace WHERE nspname = current_schema()))"

    private init(
        clock: any EngineClock, reader: PostgresReader, writer: CommitThread<WritingServer>, keeper: LeaseKeeper,
        owner: String
    ) {
        self.clock = clock
        self.reader = reader
        self.writer = writer
        self.keeper = keeper
        self.owner = owner
    }

    static func open(
        _ configuration: StoreConfiguration, _ address: PostgresAddress, clock: any EngineClock, metrics: StoreMetrics
    ) async throws -> PostgresStore {
        guard (.milliseconds(100)...(.seconds(24 * 3600))).contains(configuration.leaseTerm) else {
            throw WorkflowError(
                .invalidDuration,
                "the term of leases is \(configuration.leaseTerm), and they have to be renewed in time and to end some day: "
                    + "give between a tenth of a second and a day")
        }
        let owner = UUID().uuidString.lowercased()
        let keeper = try LeaseKeeper(configuration, address, owner: owner)
        let reader = try PostgresReader(configuration, address)
        do {
            let writer = try await CommitThread<WritingServer>.open(
                flushDelay: configuration.flushDelay, metrics: metrics
            ) { try WritingServer(configuration, address, writer: owner, keeper: keeper, metrics) }
            return PostgresStore(clock: clock, reader: reader, writer: writer, keeper: keeper, owner: owner)
        } catch {
            reader.stop()
            throw error
        }
    }

    var commitCount: Int { writer.commitCount }

    var watch: CommitWatch { writer.watch }

    var isCongested: Bool { writer.backlog > 1000 }

    var now: Timestamp { Timestamp(clock.now()) }

    func submit(_ batch: WriteBatch, completion: @escaping @Sendable (Result<Void, any Error>) -> Void) {
        writer.submit(
            PostgresOperation(
                urgency: batch.urgency,
                queries: { [self] in
                    if batch.isMade?.value == false || keeper.hasLost(batch.run, epoch: batch.epoch) {
                        throw WorkflowError.takenOver(batch.run)
                    }
                    return batch.queries(now: now)
                },
                isNews: isNews(batch), during: batch.during,
                refusal: { Self.error($0, of: batch.run) },
                completion: { completion($0.map { .failure($0) } ?? .success(())) }))
    }

    /// Nobody waits for a run without a queue, but workers for the children that it starts.
    private func isNews(_ batch: WriteBatch) -> Bool {
        guard batch.writes.contains(where: \.isNews) else { return false }
        if keeper.isQueued(batch.run) { return true }
        return batch.writes.contains { if case .child = $0 { true } else { false } }
    }

    static func error(_ refusal: PostgresError.Refusal, of run: RunID) -> WorkflowError {
        switch refusal {
        case .takenOver: .takenOver(run)
        case .ended: .hasEnded(run)
        case .unfitting: .unfitting(run)
        }
    }

    func flush() async throws {
        // An operation without a statement still ends the wait of those before it.
        try await writer.perform({ [] }) { _ in }
    }

    // MARK: - Cancellation

    func requestCancellation(_ id: RunID) async throws {
        let status = try await writer.perform(
            { [self] in
                [
                    PostgresQuery(
                        """
                        WITH asked AS (
                            UPDATE runs SET cancel_requested_at = coalesce(cancel_requested_at, $2::bigint),
                                updated_at = $2::bigint
                            WHERE id = $1 AND finished_at IS NULL RETURNING no),
                        event AS (
                            INSERT INTO events (seq, run_no, at, kind)
                            SELECT nextval('happenings'), no, $2::bigint, 'run.cancel_requested' FROM asked)
                        SELECT count(*) AS asked FROM asked
                        """, [id.description, "\(now.milliseconds)"]),
                    PostgresQuery("SELECT status FROM runs WHERE id = $1", [id.description]),
                    PostgresQuery(
                        QueueStatement.cancelFamily("id = $1 AND finished_at IS NULL", at: "$2::bigint"),
                        [id.description, "\(now.milliseconds)"]),
                    cancelUnbegun(id),
                ]
            },
            recovery: [
                PostgresQuery(
                    "SELECT count(*) AS asked FROM runs WHERE id = $1 AND cancel_requested_at IS NOT NULL",
                    [id.description]),
                PostgresQuery("SELECT status FROM runs WHERE id = $1", [id.description]),
                PostgresQuery("SELECT 1"), PostgresQuery("SELECT 1"),
            ], isNews: true
        ) { results -> (isAsked: Bool, status: RunStatus?) in
            (
                try results[0].first?.integer("asked") == 1,
                try results[1].first?.text("status").flatMap { RunStatus(rawValue: $0) }
            )
        }
        if status.isAsked { return }
        guard let status = status.status else { throw WorkflowError.unknownRun(id) }
        throw WorkflowError.alreadyFinished(id, status)
    }

    func cancellationRequests() async throws -> [RunID] {
        try await reader.read { connection in
            try connection.run("SELECT id FROM runs WHERE cancel_requested_at IS NOT NULL AND finished_at IS NULL").rows
                .compactMap { RunID(try $0.needText("id")) }
        }
    }

    func awaitCancellationRequests(polling interval: Duration) async throws {
        try await keeper.bell.wait(atMost: max(interval, Self.slowPoll))
    }

    // MARK: - Deletion

    /// What keeps the records of a finished run: something it made may still exist, or a run that it started, at whatever
    /// remove, has not ended. A child goes with its parent, which would start it again.
    private static let ownsNothing = """
        parent_no IS NULL
        AND NOT EXISTS (
            SELECT 1 FROM resources WHERE run_no = runs.no AND state IN ('intended', 'held', 'releasing'))
        AND NOT EXISTS (
            WITH RECURSIVE family (no) AS (
                SELECT children.no FROM runs AS children WHERE children.parent_no = runs.no
                UNION ALL SELECT children.no FROM runs AS children JOIN family ON children.parent_no = family.no)
            SELECT 1 FROM family JOIN runs AS members ON members.no = family.no
            WHERE members.finished_at IS NULL OR EXISTS (
                SELECT 1 FROM resources
                WHERE run_no = members.no AND state IN ('intended', 'held', 'releasing')))
        """

    func deleteRun(_ id: RunID) async throws -> Bool {
        try await writer.perform(
            {
                [
                    PostgresQuery(
                        """
                        WITH gone AS (
                            DELETE FROM runs WHERE id = $1 AND finished_at IS NOT NULL AND \(Self.ownsNothing) RETURNING 1)
                        SELECT count(*) AS gone FROM gone
                        """, [id.description])
                ]
            },
            recovery: [
                PostgresQuery("SELECT 1 - count(*) AS gone FROM runs WHERE id = $1", [id.description])
            ]
        ) { results in
            try results[0].first?.integer("gone") == 1
        }
    }

    func deleteFinishedRuns(before cutoff: Timestamp, keep: Int) async throws -> Int {
        let batch = 100
        var total = 0
        while true {
            let deleted = try await writer.perform(
                {
                    [
                        PostgresQuery(
                            """
                            WITH gone AS (
                                DELETE FROM runs WHERE no IN (
                                    SELECT no FROM runs
                                    WHERE finished_at < $1::bigint
                                        AND no NOT IN (
                                            SELECT no FROM runs WHERE finished_at IS NOT NULL
                                            ORDER BY finished_at DESC, id DESC LIMIT $2::bigint)
                                        AND \(Self.ownsNothing)
                                    ORDER BY finished_at LIMIT \(batch))
                                RETURNING 1)
                            SELECT count(*) AS gone FROM gone
                            """, ["\(cutoff.milliseconds)", "\(keep)"])
                    ]
                },
                recovery: [
                    // How many they were nobody knows any more; there may be more of them.
                    PostgresQuery("SELECT \(batch) AS gone")
                ]
            ) { results in
                Int(try results[0].first?.integer("gone") ?? 0)
            }
            total += deleted
            if deleted < batch { return total }
        }
    }

    // MARK: - Ends

    /// Returns when the writer has let every claim go, as the kernel would have: but not where a transaction of its own thread
    /// is cut off. For drills; nothing but a thread that waits for the server is waited for.
    func sever() {
        writer.sever()
        keeper.stop()
        reader.stop()
        guard !writer.isCurrent else { return }
        let deadline = ContinuousClock.now + .seconds(10)
        while !writer.isClosed, ContinuousClock.now < deadline { usleep(100) }
    }

    func close() async {
        await reader.close()
        await keeper.close()
        await writer.stop()
    }
}
