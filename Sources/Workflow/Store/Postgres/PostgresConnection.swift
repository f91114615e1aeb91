import CPQ
import Glibc

/// A statement with its values, in the text form of their types.
struct PostgresQuery: Sendable {
    enum Statement: Sendable, Hashable {
        /// One that the connection has prepared.
        case prepared(String)
        case text(String)
    }

    let statement: Statement
    var values: [String?] = []
    /// How long the pipeline that it belongs to may take, where that is longer than the connection's own patience.
    private(set) var patience: Duration?

    init(_ sql: String, _ values: [String?] = []) {
        statement = .text(sql)
        self.values = values
    }

    /// Lets the rest of the transaction take as long as it takes, up to a day: what changes every row of a large table.
    static let unhurried: PostgresQuery = {
        var query = PostgresQuery("SET LOCAL statement_timeout = 0")
        query.patience = .seconds(24 * 3600)
        return query
    }()

    init(prepared name: String, _ values: [String?] = []) {
        statement = .prepared(name)
        self.values = values
    }

    /// Throws if a value is one that the server cannot keep.
    func check() throws(WorkflowError) {
        for case let value? in values where value.utf8.contains(0) {
            throw WorkflowError(
                .invalidPayload, "PostgreSQL keeps no text with a zero byte in it: encode it, or leave the byte out")
        }
    }
}

/// A connection to a server. Belongs to one thread, which waits here: each call for no longer than its patience.
final class PostgresConnection {
    /// How much is handed to the library before the socket gets a chance to take it, in bytes.
    private static let chunk = 256 << 10

    /// A failure that took no longer may be a server's refusal. Who said nothing is not waited for twice.
    private static let quickRefusal = Duration.seconds(2)

    private let handle: OpaquePointer
    private let address: PostgresAddress
    /// How long one answer may take. Then the connection counts as lost.
    private let patience: Duration

    /// Connects. Waits as long as libpq does, for each host.
    ///
    /// - Parameters:
    ///   - attributes: libpq's `target_session_attrs`, unless the address says others.
    ///   - connectTimeout: libpq's `connect_timeout`, in whole seconds, unless the address says another.
    ///   - unacknowledged: libpq's `tcp_user_timeout`, unless the address says another.
    ///   - explains: whether a failure is to say what the server refused, for which it is asked once more.
    init(
        _ address: PostgresAddress, patience: Duration, attributes: String, connectTimeout: Duration = .seconds(10),
        unacknowledged: Duration = .seconds(20), explains: Bool = true
    ) throws {
        try PostgresLibrary.require()
        let began = ContinuousClock.now
        self.address = address
        self.patience = patience
        guard
            let handle = cpq_connect(
                address.connectionString, "\((connectTimeout.wholeMilliseconds + 999) / 1000)", "workflow", attributes,
                "\(unacknowledged.wholeMilliseconds)")
        else {
            throw PostgresError.lost("no memory for a connection")
        }
        self.handle = handle
        if cpq_is_connected(handle) == 0 {
            let failure =
                cpq_was_asked_for_password(handle) != 0 ? PostgresError.notLetIn(complaint()) : .lost(complaint())
            guard explains, began.duration(to: .now) < Self.quickRefusal else { throw failure }
            guard cpq_connect_again(handle) != 0 else { throw PostgresError.refused(complaint(), instead: failure) }
        }
        guard cpq_server_version(handle) >= 130_000 else {
            throw WorkflowError(
                .storeNotWritable,
                "the server of the store is PostgreSQL \(cpq_server_version(handle) / 10_000): use version 13 or later")
        }
    }

    deinit {
        cpq_finish(handle)
    }

    var backend: Int { Int(cpq_backend_pid(handle)) }
    var socket: Int32 { cpq_socket(handle) }

    /// Runs one statement by itself.
    @discardableResult
    func run(_ query: PostgresQuery) throws -> PostgresResult {
        try send(query)
        return try answer(until: .now.advanced(by: patience))
    }

    @discardableResult
    func run(_ sql: String, _ values: [String?] = []) throws -> PostgresResult {
        try run(PostgresQuery(sql, values))
    }

    /// Runs several statements; by themselves they are one transaction.
    ///
    /// - Parameter patience: how long that may take; the connection's own when `nil`.
    func script(_ sql: String, patience: Duration? = nil) throws {
        guard cpq_send_script(handle, sql) != 0 else { throw failure() }
        try drain(until: .now.advanced(by: patience ?? self.patience))
    }

    /// Prepares statements, in one round trip.
    func prepare(_ statements: [(name: String, sql: String)]) throws {
        let results = try pipeline(statements.count, patience) { [handle] index in
            cpq_send_prepare(handle, statements[index].name, statements[index].sql) != 0
        }
        for result in results { _ = try result.get() }
    }

    /// Sends all queries at once and collects what they answer. After one that fails the server skips the others.
    ///
    /// - Parameter patience: how long that may take; when `nil`, what the most patient of the queries says, or the
    ///   connection's own.
    func pipeline(
        _ queries: [PostgresQuery], patience: Duration? = nil
    ) throws -> [Result<PostgresResult, PostgresError>] {
        var size = 0
        let patience = patience ?? queries.lazy.compactMap(\.patience).max() ?? self.patience
        return try pipeline(queries.count, patience) { index in
            try send(queries[index])
            size += queries[index].values.reduce(0) { $0 + ($1?.utf8.count ?? 0) }
            if size > Self.chunk {
                size = 0
                try flush(until: .now.advanced(by: self.patience))
            }
            return true
        }
    }

    /// How many notifications came.
    func notifications() throws -> Int {
        guard cpq_consume(handle) != 0 else { throw failure() }
        return Int(cpq_take_notifications(handle))
    }

    // MARK: - Pipelines

    private func pipeline(
        _ count: Int, _ patience: Duration, _ send: (Int) throws -> Bool
    ) throws -> [Result<PostgresResult, PostgresError>] {
        guard cpq_enter_pipeline(handle) != 0 else { throw failure() }
        for index in 0..<count {
            guard try send(index) else { throw failure() }
        }
        guard cpq_sync(handle) != 0 else { throw failure() }
        let deadline = ContinuousClock.now.advanced(by: patience)
        var results: [Result<PostgresResult, PostgresError>] = []
        for _ in 0..<count {
            do {
                results.append(.success(try answer(until: deadline)))
            } catch let error as PostgresError where !error.isLost {
                results.append(.failure(error))
            }
        }
        guard let end = try next(until: deadline) else {
            throw PostgresError.lost("the server ended a pipeline that it had not begun")
        }
        defer { cpq_clear(end) }
        guard cpq_result_status(end) == CPQ_SYNC, cpq_exit_pipeline(handle) != 0 else { throw failure() }
        return results
    }

    private func send(_ query: PostgresQuery) throws {
        try query.check()
        var text: [UInt8] = []
        var offsets: [Int32] = []
        for value in query.values {
            guard let value else {
                offsets.append(-1)
                continue
            }
            guard let offset = Int32(exactly: text.count) else {
                throw WorkflowError(.payloadTooLarge, "the values of one statement have more than 2 GB")
            }
            offsets.append(offset)
            text.append(contentsOf: value.utf8)
            text.append(0)
        }
        let count = Int32(query.values.count)
        let isSent = text.withUnsafeBytes { bytes in
            let start = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
            return switch query.statement {
            case .prepared(let name): cpq_send(handle, name, nil, count, start, offsets)
            case .text(let sql): cpq_send(handle, nil, sql, count, start, offsets)
            }
        }
        guard isSent != 0 else { throw failure() }
    }

    // MARK: - Answers

    /// What one statement answers: its only result.
    private func answer(until deadline: ContinuousClock.Instant) throws -> PostgresResult {
        guard let result = try next(until: deadline) else { throw PostgresError.lost("a statement had no answer") }
        var error: PostgresError?
        switch cpq_result_status(result) {
        case CPQ_DONE, CPQ_ROWS: break
        case CPQ_SKIPPED: error = PostgresError(state: "", message: "not executed", isLost: false)
        default: error = complaint(result)
        }
        if let error {
            cpq_clear(result)
            try finish(until: deadline, after: error)
            throw error
        }
        let answer = PostgresResult(result)
        try finish(until: deadline, after: nil)
        return answer
    }

    /// Reads on to the end of what a statement answers.
    private func finish(until deadline: ContinuousClock.Instant, after error: PostgresError?) throws {
        // A connection that is gone may answer errors for ever.
        if let error, error.isLost || cpq_is_connected(handle) == 0 {
            throw PostgresError(state: error.state, message: error.message, isLost: true)
        }
        if let more = try next(until: deadline) {
            let second = complaint(more)
            cpq_clear(more)
            throw PostgresError.lost(second.message)
        }
    }

    private func drain(until deadline: ContinuousClock.Instant) throws {
        var first: PostgresError?
        while let result = try next(until: deadline) {
            if first == nil, cpq_result_status(result) == CPQ_FAILED { first = complaint(result) }
            cpq_clear(result)
            if let first, first.isLost || cpq_is_connected(handle) == 0 {
                throw PostgresError(state: first.state, message: first.message, isLost: true)
            }
        }
        if let first { throw first }
    }

    private func next(until deadline: ContinuousClock.Instant) throws -> OpaquePointer? {
        try flush(until: deadline)
        while cpq_is_busy(handle) != 0 {
            try wait(POLLIN, until: deadline)
            guard cpq_consume(handle) != 0 else { throw failure() }
        }
        return cpq_next_result(handle)
    }

    private func flush(until deadline: ContinuousClock.Instant) throws {
        while true {
            switch cpq_flush(handle) {
            case 0: return
            case 1:
                // A server whose answers nobody takes takes no more statements.
                if try wait(POLLIN | POLLOUT, until: deadline) & Int16(POLLIN) != 0, cpq_consume(handle) == 0 {
                    throw failure()
                }
            default: throw failure()
            }
        }
    }

    @discardableResult
    private func wait(_ events: Int32, until deadline: ContinuousClock.Instant) throws -> Int16 {
        guard socket >= 0 else { throw PostgresError.lost("the connection is closed") }
        while true {
            let left = ContinuousClock.now.duration(to: deadline).wholeMilliseconds
            guard left > 0 else { throw PostgresError.lost("the server did not answer within \(patience)") }
            var entry = pollfd(fd: socket, events: Int16(events), revents: 0)
            let count = poll(&entry, 1, Int32(clamping: left))
            if count > 0 { return entry.revents }
            if count < 0, errno != EINTR { throw PostgresError.lost("poll: \(String(cString: strerror(errno)))") }
        }
    }

    // MARK: - Errors

    private func failure() -> PostgresError { .lost(complaint()) }

    private func complaint() -> String {
        let text = cpq_error(handle).map { String(cString: $0) } ?? ""
        return clean(text, orElse: "the connection failed")
    }

    private func complaint(_ result: OpaquePointer) -> PostgresError {
        let text = cpq_result_error(result).map { String(cString: $0) } ?? ""
        let state = cpq_result_state(result).map { String(cString: $0) } ?? ""
        return PostgresError(
            state: state, message: clean(text, orElse: "an unexpected answer"),
            isLost: PostgresError.isEnd(state) || cpq_is_connected(handle) == 0)
    }

    private func clean(_ text: String, orElse other: String) -> String {
        let line = text.split(whereSeparator: \.isNewline).joined(separator: " ")
        return line.isEmpty ? other : address.redact(line)
    }
}
