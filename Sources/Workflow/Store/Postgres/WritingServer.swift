import Foundation
import Glibc

/// The connection that writes, and the way a group of operations is committed over it.
///
/// All statements of all operations travel at once, between a BEGIN and a COMMIT: one round trip. Hardly ever does one of
/// them fail; then nothing is done, and all are done again one by one, each in a savepoint, to find out which.
///
/// Where the connection is lost in the middle, the transaction itself tells afterwards whether it was committed: it leaves
/// its number in the table `writers`. (The server's own number of it would have to be known before, at the price of another
/// round trip for each commit.)
final class WritingServer: CommitBackend {
    typealias Operation = PostgresOperation

    /// How often a group is begun again because other transactions were in the way.
    private static let collisionLimit = 10

    /// One of several operations failed, and with it the transaction.
    private struct OperationFailure: Error {
        let index: Int
        let cause: PostgresError
    }

    /// The queues whose rows are locked first were kept by another transaction.
    private struct QueueFailure: Error {
        let cause: PostgresError
    }

    let link: PostgresLink
    private let metrics: StoreMetrics
    /// Who writes, in `writers` and `leases`.
    let writer: String
    /// How long a transaction that may still be committed is waited for.
    let doubtPatience: Duration
    /// The number of the last transaction that was begun.
    private var number = 0
    /// The transaction whose fate is not known: its COMMIT may have been sent, and no answer came.
    var doubtful: Int?
    /// Which operations of it were undone alone, in the order of all; empty when none was.
    var undone: [(any Error)?] = []

    /// - Parameter keeper: of the leases of this writer; each new connection is asked whether they still are there.
    init(
        _ configuration: StoreConfiguration, _ address: PostgresAddress, writer: String, keeper: LeaseKeeper,
        _ metrics: StoreMetrics
    ) throws {
        self.metrics = metrics
        self.writer = writer
        doubtPatience = configuration.reconnectTimeout
        let rewrite = configuration.rewrite
        let rewriteClaims = configuration.rewriteClaims
        link = try PostgresLink(configuration, address, for: .writing) { connection, isFirst in
            try PostgresMigration.migrate(connection, isFirst: isFirst)
            try connection.prepare(
                RunStatement.allCases.map { ($0.name, rewrite($0, $0.postgres)) }
                    + StoreStatement.allCases.map { ($0.rawValue, rewriteClaims($0.rawValue, $0.sql)) }
                    + QueueStatement.allCases.map { ($0.name, rewriteClaims($0.name, $0.sql)) })
            try keeper.compare(connection)
        }
        do {
            try Self.tidyUp(link.connected())
        } catch {
            throw PostgresErrors.translate(error, link.name)
        }
    }

    /// Removes what stores left that were never closed: their own rows, and the leases of runs that have ended, which nobody
    /// asks for again. One that somebody has in hand is passed over.
    private static func tidyUp(_ connection: PostgresConnection) throws {
        try connection.script("DELETE FROM writers WHERE seen_at < now() - interval '7 days'")
        try connection.script(
            """
            DELETE FROM leases WHERE run_id IN (
                SELECT run_id FROM leases JOIN runs ON id = run_id
                WHERE finished_at IS NOT NULL AND expires_at < now() - interval '7 days'
                FOR UPDATE OF leases SKIP LOCKED)
            """)
    }

    func translate(_ error: any Error) -> any Error { PostgresErrors.translate(error, link.name) }

    func tidy() {}

    /// Lets every claim go, also when the store was cut off: as the kernel does with the locks of a process that died.
    func close(isCutOff: Bool) {
        if let connection = link.current {
            do {
                _ = try connection.pipeline([
                    PostgresQuery("DELETE FROM leases WHERE owner = $1::uuid", [writer]),
                    PostgresQuery("DELETE FROM writers WHERE id = $1::uuid", [writer]),
                ])
            } catch {
                // The leases end by themselves.
            }
        }
        link.close()
    }

    func transaction(
        _ operations: [PostgresOperation], lastCheck: () throws -> Void
    ) throws -> [(any Error)?] {
        try metrics.transaction {
            doubtful = nil
            do {
                return try persistently(operations, lastCheck)
            } catch let error as PostgresError where error.isCollision && doubtful == nil && operations.count > 1 {
                return separately(operations, lastCheck)
            } catch let failure as QueueFailure {
                return try withoutQueues(operations, failure.cause, lastCheck)
            }
        }
    }

    /// Gives up what needs the row of a queue, which somebody keeps, and does the rest: it is of runs that have nothing to do
    /// with that.
    private func withoutQueues(
        _ operations: [PostgresOperation], _ cause: PostgresError, _ lastCheck: () throws -> Void
    ) throws -> [(any Error)?] {
        let others = operations.filter { $0.queueLock == nil }
        guard !others.isEmpty else { throw cause }
        var rest = try persistently(others, lastCheck)[...]
        return operations.map { operation in
            guard operation.queueLock == nil else {
                operation.failed()
                return cause
            }
            return rest.popFirst() ?? nil
        }
    }

    private func persistently(
        _ operations: [PostgresOperation], _ lastCheck: () throws -> Void
    ) throws -> [(any Error)?] {
        var collisions = 0
        var losses = 0
        while true {
            do {
                let errors = try settled(operations, lastCheck) ?? attempt(operations, lastCheck)
                link.worked()
                return errors
            } catch let error as PostgresError where error.isLost {
                link.drop()
                guard link.mayTryAgain(after: losses) else {
                    throw doubtful == nil ? error : PostgresErrors.unknownOutcome(link.name, error)
                }
                losses += 1
            } catch let error as PostgresError where error.isCollision && collisions < Self.collisionLimit {
                collisions += 1
                usleep(UInt32.random(in: 500...20_000))
            }
        }
    }

    /// Runs each operation in a transaction of its own, where all of them together got in the way of others again and again:
    /// the less one locks, the less it collides.
    ///
    /// After one that could not be committed none is begun: what comes later may build on it.
    private func separately(
        _ operations: [PostgresOperation], _ lastCheck: () throws -> Void
    ) -> [(any Error)?] {
        var errors: [(any Error)?] = []
        for operation in operations {
            do {
                let outcome = try persistently([operation], lastCheck)
                errors.append(outcome.first ?? nil)
            } catch {
                errors += Array(repeating: error, count: operations.count - errors.count)
                break
            }
        }
        return errors
    }

    // MARK: - Together

    private func attempt(
        _ operations: [PostgresOperation], _ lastCheck: () throws -> Void
    ) throws -> [(any Error)?] {
        doubtful = nil
        undone = []
        let lists: [[PostgresQuery]]
        do {
            lists = try operations.map(Self.queries)
        } catch {
            return try oneByOne(operations, lastCheck)
        }
        if lists.allSatisfy(\.isEmpty) {
            try lastCheck()
            return read(operations, lists.map { _ in [] })
        }
        if link.current == nil {
            // A new connection may tell of leases that are lost: what is still to be done is decided after that.
            _ = try link.connected(lastCheck)
            return try attempt(operations, lastCheck)
        }
        let connection = try link.connected(lastCheck)
        do {
            let answers = try together(operations, lists, connection, lastCheck)
            return read(operations, answers)
        } catch let failure as OperationFailure {
            guard operations.count == 1 else { return try oneByOne(operations, lastCheck) }
            operations[0].failed()
            return [Self.cause(of: failure.cause, operations[0])]
        }
    }

    /// What an operation consists of, if the server can take it: what it cannot take must not spoil the pipeline.
    private static func queries(of operation: PostgresOperation) throws -> [PostgresQuery] {
        let queries = try operation.queries()
        for query in queries { try query.check() }
        return queries
    }

    /// Runs all in one transaction, or none.
    ///
    /// - Returns: what each answered.
    private func together(
        _ operations: [PostgresOperation], _ lists: [[PostgresQuery]], _ connection: PostgresConnection,
        _ lastCheck: () throws -> Void
    ) throws -> [[PostgresResult]] {
        // Whoever looks into the middle of a transaction pays for it with a second round trip.
        let isWatched = operations.contains { $0.during != nil }
        var queries = beginning(operations, isDurable: operations.contains(where: \.isDurable))
        let head = queries.count
        queries += lists.joined()
        let isNews = operations.contains(where: \.isNews)
        if !isWatched {
            try lastCheck()
            queries.append(PostgresQuery(prepared: StoreStatement.commit.rawValue))
            doubtful = number
        }
        let count = queries.count
        if !isWatched, isNews { queries.append(PostgresQuery(prepared: StoreStatement.tell.rawValue)) }
        // What became of the telling is nobody's concern.
        let results = try connection.pipeline(queries).prefix(count)
        if let index = results.firstIndex(where: \.isFailure), case .failure(let error) = results[index] {
            doubtful = nil
            try connection.script("ROLLBACK")
            if index < head, error.hasWaitedInVain, queries[index].isQueueLock { throw QueueFailure(cause: error) }
            guard index >= head, !error.isCollision, let culprit = Self.owner(of: index - head, lists) else {
                throw error
            }
            throw OperationFailure(index: culprit, cause: error)
        }
        if isWatched {
            for operation in operations { operation.during?() }
            try commit(connection, lastCheck)
            if isNews { tell(connection) }
        }
        doubtful = nil
        var rest = try results.dropFirst(head).map { try $0.get() }[...]
        return lists.map { list in
            defer { rest = rest.dropFirst(list.count) }
            return Array(rest.prefix(list.count))
        }
    }

    /// Which operation a statement belongs to; `nil` for the COMMIT.
    private static func owner(of position: Int, _ lists: [[PostgresQuery]]) -> Int? {
        var left = position
        for (index, list) in lists.enumerated() {
            if left < list.count { return index }
            left -= list.count
        }
        return nil
    }

    /// What comes before the operations' own statements: the locks of all their queues are taken here, at once.
    private func beginning(_ operations: [PostgresOperation], isDurable: Bool) -> [PostgresQuery] {
        number += 1
        var queries = [PostgresQuery(prepared: StoreStatement.begin.rawValue)]
        if !isDurable { queries.append(PostgresQuery(prepared: StoreStatement.unsynced.rawValue)) }
        queries.append(PostgresQuery(prepared: StoreStatement.mark.rawValue, [writer, "\(number)"]))
        let queues = Set(operations.compactMap(\.queueLock))
        if !queues.isEmpty {
            queries.append(
                PostgresQuery(prepared: QueueStatement.lockQueues.name, [PostgresRead.array(queues)]))
        }
        return queries
    }

    private func commit(_ connection: PostgresConnection, _ lastCheck: () throws -> Void) throws {
        do {
            try lastCheck()
        } catch {
            try connection.script("ROLLBACK")
            throw error
        }
        doubtful = number
        do {
            try connection.run(PostgresQuery(prepared: StoreStatement.commit.rawValue))
        } catch let error as PostgresError where !error.isLost {
            doubtful = nil
            throw error
        }
        doubtful = nil
    }

    /// Says to all that listen that there is something to look for: a run to take, a place that became free, an end, a signal,
    /// a cancellation.
    private func tell(_ connection: PostgresConnection) {
        do {
            try connection.run(PostgresQuery(prepared: StoreStatement.tell.rawValue))
        } catch {
            // They look by themselves, too. But what may still answer later is asked nothing more.
            if (error as? PostgresError)?.isLost != false { link.drop() }
        }
    }

    private func read(_ operations: [PostgresOperation], _ answers: [[PostgresResult]]) -> [(any Error)?] {
        var errors: [(any Error)?] = []
        for (operation, results) in zip(operations, answers) {
            do {
                try operation.read(results)
                errors.append(nil)
            } catch {
                errors.append(error)
            }
        }
        return errors
    }

    private static func cause(of error: PostgresError, _ operation: PostgresOperation) -> any Error {
        error.refusal.map(operation.refusal) ?? error
    }

    // MARK: - One by one

    /// Runs each operation in a savepoint of one transaction.
    ///
    /// - Returns: the error of each operation that was rolled back alone.
    private func oneByOne(
        _ operations: [PostgresOperation], _ lastCheck: () throws -> Void
    ) throws -> [(any Error)?] {
        let connection = try link.connected(lastCheck)
        let head = beginning(operations, isDurable: true)
        let opening = try connection.pipeline(head)
        if let index = opening.firstIndex(where: \.isFailure), case .failure(let error) = opening[index] {
            try connection.script("ROLLBACK")
            if error.hasWaitedInVain, head[index].isQueueLock { throw QueueFailure(cause: error) }
            throw error
        }
        var outcomes: [Result<[PostgresResult], any Error>] = []
        for operation in operations {
            let outcome = try inSavepoint(operation, connection)
            if case .failure = outcome { operation.failed() }
            outcomes.append(outcome)
        }
        undone = outcomes.map { outcome in
            guard case .failure(let error) = outcome else { return nil }
            return error
        }
        try commit(connection, lastCheck)
        if operations.contains(where: \.isNews) { tell(connection) }
        return zip(operations, outcomes).map { operation, outcome in
            do {
                try operation.read(try outcome.get())
                return nil
            } catch {
                return error
            }
        }
    }

    private func inSavepoint(
        _ operation: PostgresOperation, _ connection: PostgresConnection
    ) throws -> Result<[PostgresResult], any Error> {
        let queries: [PostgresQuery]
        do {
            queries = try Self.queries(of: operation)
        } catch {
            return .failure(error)
        }
        let results = try connection.pipeline(
            [PostgresQuery(prepared: StoreStatement.savepoint.rawValue)] + queries
                + [PostgresQuery(prepared: StoreStatement.release.rawValue)])
        if case .failure(let error)? = results.first(where: \.isFailure) {
            guard !error.isCollision else {
                try connection.script("ROLLBACK")
                throw error
            }
            try connection.script("ROLLBACK TO operation; RELEASE operation")
            return .failure(Self.cause(of: error, operation))
        }
        operation.during?()
        return .success(try results.dropFirst().dropLast().map { try $0.get() })
    }
}

extension PostgresQuery {
    fileprivate var isQueueLock: Bool { statement == .prepared(QueueStatement.lockQueues.name) }
}

extension Result {
    fileprivate var isFailure: Bool {
        if case .failure = self { return true }
        return false
    }
}
