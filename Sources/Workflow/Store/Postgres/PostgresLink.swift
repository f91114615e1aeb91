import Foundation
import Glibc

/// One connection of a store, made again when it was lost. Belongs to one thread, which may wait here.
///
/// While the server cannot be reached it tries again and again, ever more seldom, until ``StoreConfiguration/reconnectTimeout``
/// has passed since the loss. After that each call tries once.
final class PostgresLink {
    /// What a connection is for.
    enum Purpose {
        case writing
        /// What is read decides what is done next: it has to be as new as what was committed last.
        case reading
        /// What is read is only shown, and may be somewhat old: where no primary answers, a standby will do.
        case showing
        case leases
    }

    let address: PostgresAddress
    /// What a person knows the database by.
    let name: String
    private let configuration: StoreConfiguration
    private let purpose: Purpose
    /// Makes a new connection ready; told whether it is the first.
    private let prepare: (PostgresConnection, _ isFirst: Bool) throws -> Void
    private var connection: PostgresConnection?
    /// The server's process behind the connection, in its own words.
    private var process: (id: String, since: String)?
    private var lostAt: ContinuousClock.Instant?
    /// Whether there ever was a connection: an address that never worked is not waited for.
    private var hasWorked = false

    init(
        _ configuration: StoreConfiguration, _ address: PostgresAddress, for purpose: Purpose,
        _ prepare: @escaping (PostgresConnection, _ isFirst: Bool) throws -> Void = { _, _ in }
    ) throws {
        self.configuration = configuration
        self.address = address
        self.purpose = purpose
        self.prepare = prepare
        name = try address.name()
    }

    /// How long one answer may take: longer than a statement may wait for a lock.
    static func patience(_ configuration: StoreConfiguration) -> Duration {
        lockWait(configuration) + .seconds(20)
    }

    /// How long one answer may take on a connection for this purpose, and how long sent bytes may stay unacknowledged. A
    /// renewal that hangs has to be given up while there is time for another one before the lease ends.
    private var patience: Duration {
        purpose == .leases ? max(configuration.leaseTerm / 6, .seconds(1)) : Self.patience(configuration)
    }

    /// How long a statement waits for a lock on a connection for this purpose.
    private var lockWait: Duration {
        purpose == .leases
            ? min(max(configuration.leaseTerm / 10, .milliseconds(10)), patience) : Self.lockWait(configuration)
    }

    /// How long libpq tries to connect to each host; it rounds up to two seconds.
    private var connectTimeout: Duration {
        purpose == .leases ? min(max(configuration.leaseTerm / 10, .seconds(2)), .seconds(10)) : .seconds(10)
    }

    /// How long a statement waits for a lock.
    private static func lockWait(_ configuration: StoreConfiguration) -> Duration {
        min(max(configuration.busyTimeout, .milliseconds(1)), .seconds(600))
    }

    /// The connection, made if there is none.
    ///
    /// - Parameter check: called before each try; what it throws ends the trying.
    func connected(_ check: () throws -> Void = {}) throws -> PostgresConnection {
        if let connection { return connection }
        var pause: Duration = .milliseconds(50)
        while true {
            try check()
            do {
                let new = try connectedAtOnce()
                hasWorked = true
                return new
            } catch let error as PostgresError where error.isLost {
                guard hasWorked, let lostAt, lostAt.duration(to: .now) < configuration.reconnectTimeout else {
                    throw PostgresErrors.unavailable(name, error)
                }
                sleep(pause * .random(in: 0.5...1), check)
                pause = min(pause * 2, .seconds(2))
            }
        }
    }

    /// The connection; where there is none, one try to make it.
    func connectedAtOnce() throws -> PostgresConnection {
        if let connection { return connection }
        let new = try make()
        connection = new
        return new
    }

    /// The connection is gone, or cannot be trusted any more.
    func drop() {
        lostAt = lostAt ?? .now
        connection = nil
    }

    /// How often one call begins again on a new connection.
    private static let lossLimit = 20

    /// Whether what was lost in the middle is worth another try on a new connection: always once, and then for as long as a
    /// server is waited for, which may let everybody in and finish nothing.
    ///
    /// - Parameter losses: how often the same call was lost before.
    func mayTryAgain(after losses: Int) -> Bool {
        let isInTime = lostAt.map { $0.duration(to: .now) < configuration.reconnectTimeout } ?? true
        return losses < Self.lossLimit && (losses == 0 || isInTime)
    }

    /// Something came through: the next loss is another one.
    func worked() { lostAt = nil }

    func close() { connection = nil }

    /// The connection, if there is one.
    var current: PostgresConnection? { connection }

    private func sleep(_ duration: Duration, _ check: () throws -> Void) {
        // A quarter of a second at a time: whoever wants the thread to end need not wait.
        var left = duration.wholeMilliseconds
        while left > 0 {
            let slice = min(left, 250)
            usleep(UInt32(slice) * 1000)
            left -= slice
            do { try check() } catch { return }
        }
    }

    /// - Parameter attributes: libpq's `target_session_attrs`.
    private func open(_ attributes: String) throws -> PostgresConnection {
        try PostgresConnection(
            address, patience: patience, attributes: attributes, connectTimeout: connectTimeout,
            unacknowledged: purpose == .leases ? patience : .seconds(20), explains: !hasWorked)
    }

    private func open() throws -> PostgresConnection {
        let began = ContinuousClock.now
        do {
            return try open("read-write")
        } catch let error as PostgresError
            where purpose == .showing && error.isLost && began.duration(to: .now) < connectTimeout
        {
            return try open("any")
        }
    }

    private func make() throws -> PostgresConnection {
        let new = try open()
        try new.script(settings)
        try verify(new)
        if let process {
            // It may not have noticed yet that nobody is there any more, and keep rows locked. To end it is a courtesy:
            // where that is not allowed, its locks are waited for.
            _ = try new.pipeline([
                PostgresQuery(
                    """
                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE pid = $1::integer AND backend_start = $2::timestamptz AND usename = current_user
                    """, [process.id, process.since])
            ])
        }
        let answer = try new.run("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")
        if let row = answer.first, let id = try row.text("pid"), let since = try row.text("backend_start") {
            process = (id, since)
        }
        try prepare(new, !hasWorked)
        return new
    }

    /// What holds for the session whatever the server's own settings are.
    private var settings: String {
        let wait = lockWait.wholeMilliseconds
        var settings = """
            SET lock_timeout = \(wait);
            SET idle_in_transaction_session_timeout = \(max(wait / 2, 1000));
            SET statement_timeout = \(patience.wholeMilliseconds);
            SET default_transaction_isolation = 'read committed';
            SET jit = off;
            SET tcp_keepalives_idle = 10;
            SET tcp_keepalives_interval = 5;
            SET tcp_keepalives_count = 3;
            """
        switch purpose {
        case .reading, .showing: settings += "SET default_transaction_read_only = on;"
        // What is lost of a renewal lets the lease end earlier, which the epoch makes harmless.
        case .leases: settings += "SET synchronous_commit = off;"
        // Each statement finds its rows by a key, and in the order of one, whatever the planner believed of a table that was
        // empty when it made the plan: a queue of a hundred thousand runs is not sorted for the first of them.
        case .writing:
            settings += """
                SET plan_cache_mode = force_generic_plan;
                SET enable_seqscan = off;
                SET enable_hashjoin = off;
                SET enable_mergejoin = off;
                SET enable_sort = off;
                SET enable_incremental_sort = off;
                """
        }
        return settings
    }

    /// Reads back what the store hangs on.
    private func verify(_ connection: PostgresConnection) throws {
        let answer = try connection.run(
            """
            SELECT current_setting('server_encoding') AS encoding, current_setting('fsync') AS fsync,
                current_setting('synchronous_commit') AS durability, current_schema() AS schema
            """)
        guard let row = answer.first else { throw PostgresError.lost("the server does not know its settings") }
        guard try row.text("encoding") == "UTF8" else {
            throw WorkflowError(
                .storeNotWritable, "the \(name) is not in UTF-8: make one with ENCODING 'UTF8' TEMPLATE template0")
        }
        guard try row.text("schema") != nil else {
            throw WorkflowError(
                .storeNotWritable,
                "no schema of the search path is there in the \(name): create it, or correct search_path in the address"
            )
        }
        guard purpose == .writing else { return }
        guard try row.text("fsync") == "on" else {
            throw WorkflowError(
                .storeNotWritable,
                "the server of the \(name) runs with fsync = off, so commits would not be safe: turn it on")
        }
        if try row.text("durability") == "off" { try connection.script("SET synchronous_commit = on") }
    }
}
