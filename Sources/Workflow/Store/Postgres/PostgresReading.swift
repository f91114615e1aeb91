import Foundation

/// The thread with the connection that reads: reading never waits for a commit, nor a commit for reading.
final class PostgresReader: Sendable {
    private let worker: WorkerThread
    private let link: LinkBox
    private let closed = Promise<Void>()

    /// - Parameter isOnlyShown: whether nothing is done because of what is read, so that it may come from a standby and be
    ///   somewhat old.
    init(_ configuration: StoreConfiguration, _ address: PostgresAddress, isOnlyShown: Bool = false) throws {
        link = LinkBox(try PostgresLink(configuration, address, for: isOnlyShown ? .showing : .reading))
        worker = WorkerThread.start(name: "workflow-reader")
    }

    /// What a person knows the database by.
    var name: String { link.link.name }

    /// Runs `body` on the thread; where the connection is lost meanwhile, again on a new one.
    func read<T: Sendable>(_ body: @escaping @Sendable (PostgresConnection) throws -> T) async throws -> T {
        try await worker.perform { [link] in
            let link = link.link
            var losses = 0
            while true {
                do {
                    let value = try body(try link.connected())
                    link.worked()
                    return value
                } catch let error as PostgresError where error.isLost && link.mayTryAgain(after: losses) {
                    losses += 1
                    link.drop()
                } catch {
                    throw PostgresErrors.translate(error, link.name)
                }
            }
        }
    }

    /// Takes no more reads, and closes the connection after those that wait.
    func stop() {
        // A second call is refused: the first has closed it, or is about to.
        _ = worker.submit { [link, closed] in
            link.link.close()
            closed.fulfil(())
        }
        worker.stop()
    }

    /// Stops, and returns when the connection is closed.
    func close() async {
        stop()
        await closed.value()
    }

    /// Lets the link be kept where only the thread uses it.
    private final class LinkBox: @unchecked Sendable {
        let link: PostgresLink
        init(_ link: PostgresLink) { self.link = link }
    }
}

/// Reading from PostgreSQL: who holds a run is a row there, too.
protocol PostgresReading: StoreReading {
    var reader: PostgresReader { get }
}

extension PostgresReading {
    var place: String { reader.name }

    func standing() async throws -> StoreStanding {
        try await reader.read { connection in
            guard let row = try connection.run("SELECT \(StoreStanding.columns) FROM store").first else {
                throw WorkflowError.noStanding
            }
            return try StoreStanding(row)
        }
    }

    func isHeld(_ id: RunID) async -> Bool {
        do {
            return try await reader.read { connection in
                try connection.run(
                    "SELECT 1 AS held FROM leases WHERE run_id = $1 AND expires_at > clock_timestamp()",
                    [id.description]
                ).count > 0
            }
        } catch {
            // Whoever cannot be asked may say yes: we cannot say that the run is free.
            return true
        }
    }

    func run(_ id: RunID) async throws -> RunRecord? {
        try await reader.read { try $0.run(PostgresRead.run, [id.description]).runRecords().first }
    }

    func runs(idPrefix prefix: String) async throws -> [RunRecord] {
        try await reader.read { connection in
            // "~" sorts after everything an id can hold.
            try connection.run(
                "SELECT \(PostgresRead.runColumns) FROM runs WHERE id >= $1 AND id < $2 ORDER BY id DESC LIMIT 100",
                [prefix, prefix + "~"]
            ).runRecords()
        }
    }

    func runs(_ query: RunQuery) async throws -> [RunRecord] {
        let statuses = query.statuses ?? Set(RunStatus.allCases)
        let sql = PostgresRead.runs(unfinished: !statuses.contains(where: \.isFinished))
        // Labels are compared here, a page of runs after the other.
        let page = query.labels.isEmpty ? query.limit : 1000
        return try await reader.read { connection in
            var found: [RunRecord] = []
            var before = query.before?.description ?? "~"
            while true {
                let records = try connection.run(
                    sql, [before, query.workflow, PostgresRead.array(statuses.map(\.rawValue)), "\(page)"]
                ).runRecords()
                found += records.filter { record in
                    query.labels.allSatisfy { record.labels[$0.key] == $0.value }
                }
                guard records.count == page, found.count < query.limit, let last = records.last else { break }
                before = last.id.description
            }
            return Array(found.prefix(query.limit))
        }
    }

    func steps(of id: RunID) async throws -> [StepRecord] {
        try await reader.read { try $0.run(PostgresRead.steps, [id.description]).steps(of: id) }
    }

    func resources(of id: RunID) async throws -> [ResourceRecord] {
        try await reader.read { try $0.run(PostgresRead.resources, [id.description]).resources(of: id) }
    }

    func resources(states: Set<ResourceRecord.State>) async throws -> [ResourceRecord] {
        try await reader.read { connection in
            try connection.run(PostgresRead.ledger, [PostgresRead.array(states.map(\.rawValue))]).rows.map {
                try ResourceRecord($0, of: runID($0.needText("run_id")))
            }
        }
    }

    func events(of id: RunID, after seq: Int64, limit: Int) async throws -> [EventRecord] {
        try await reader.read { connection in
            try connection.run(PostgresRead.events, [id.description, "\(seq)", "\(limit)"]).rows.map {
                try EventRecord($0, of: id)
            }
        }
    }

    func everything(of id: RunID) async throws -> RunRecords? {
        try await reader.read { connection in
            let results = try connection.pipeline([
                PostgresQuery("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"),
                PostgresQuery(PostgresRead.run, [id.description]),
                PostgresQuery(PostgresRead.steps, [id.description]),
                PostgresQuery(PostgresRead.resources, [id.description]),
                PostgresQuery("COMMIT"),
            ])
            if results.contains(where: { if case .failure = $0 { true } else { false } }) {
                try connection.script("ROLLBACK")
            }
            guard let run = try results[1].get().runRecords().first else { return nil }
            return RunRecords(
                run: run, steps: try results[2].get().steps(of: id), resources: try results[3].get().resources(of: id))
        }
    }

    /// Reads every row of every table, with what is stored beside it; the server says where a page or a value is damaged.
    /// Whether rows belong together is the server's own rule.
    func checkIntegrity() async throws -> [String] {
        try await reader.read { connection in
            var found: [String] = []
            for table in [
                "runs", "steps", "resources", "events", "leases", "writers", "queues", "queue_starts", "signals",
            ] {
                do {
                    let results = try connection.pipeline(
                        [
                            PostgresQuery("BEGIN READ ONLY"), PostgresQuery("SET LOCAL statement_timeout = 0"),
                            PostgresQuery("SELECT sum(hashtext(t::text)) FROM \(table) AS t"), PostgresQuery("COMMIT"),
                        ], patience: .seconds(24 * 3600))
                    if case .failure = results[2] { try connection.script("ROLLBACK") }
                    _ = try results[2].get()
                } catch let error as PostgresError where !error.isLost {
                    found.append("table \(table): \(error)")
                }
            }
            return found
        }
    }
}
