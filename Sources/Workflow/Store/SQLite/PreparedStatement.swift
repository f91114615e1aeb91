import GRDB
import GRDBSQLite

/// A statement compiled once and run again and again, for the writes of every step. Belongs to the thread of its
/// connection.
///
/// GRDB's own statements look up, observe and convert much that these writes do not need; they took most of a step's
/// time.
final class PreparedStatement {
    /// `nil` once it was finalized; SQLite then answers every call with an error.
    private var handle: OpaquePointer?
    private let connection: OpaquePointer

    /// Compiles the statement.
    init(_ sql: String, on db: Database) throws {
        guard let connection = db.sqliteConnection else {
            throw DatabaseError(resultCode: .SQLITE_MISUSE, message: "the connection is closed")
        }
        var handle: OpaquePointer?
        let code = sqlite3_prepare_v3(connection, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &handle, nil)
        guard code == SQLITE_OK, let handle else { throw Self.error(connection) }
        self.handle = handle
        self.connection = connection
    }

    deinit {
        finalize()
    }

    /// Lets the connection be closed. Whoever runs the statement afterwards gets an error.
    func finalize() {
        sqlite3_finalize(handle)
        handle = nil
    }

    func bind(_ index: Int32, _ value: Int64) {
        sqlite3_bind_int64(handle, index, value)
    }

    func bind(_ index: Int32, _ value: Int64?) {
        if let value { bind(index, value) } else { sqlite3_bind_null(handle, index) }
    }

    func bind(_ index: Int32, _ value: Int) {
        bind(index, Int64(value))
    }

    func bind(_ index: Int32, _ text: String) {
        var text = text
        text.withUTF8 { bytes in
            // An empty buffer has no address, and SQLite takes a null pointer for NULL.
            guard let address = bytes.baseAddress, !bytes.isEmpty else {
                sqlite3_bind_text(handle, index, "", 0, nil)
                return
            }
            address.withMemoryRebound(to: CChar.self, capacity: bytes.count) { characters in
                _ = sqlite3_bind_text(handle, index, characters, Int32(bytes.count), Self.transient)
            }
        }
    }

    func bind(_ index: Int32, _ text: String?) {
        if let text { bind(index, text) } else { sqlite3_bind_null(handle, index) }
    }

    /// Runs a statement that answers no rows.
    ///
    /// - Returns: how many rows it changed.
    @discardableResult
    func run() throws -> Int {
        let code = sqlite3_step(handle)
        guard code == SQLITE_DONE else {
            let error = Self.error(connection)
            sqlite3_reset(handle)
            throw error
        }
        sqlite3_reset(handle)
        return Int(sqlite3_changes(connection))
    }

    /// Runs a query of at most one integer.
    ///
    /// - Returns: `nil` if there is no row.
    func integer() throws -> Int64? {
        let code = sqlite3_step(handle)
        switch code {
        case SQLITE_ROW:
            defer { sqlite3_reset(handle) }
            return sqlite3_column_int64(handle, 0)
        case SQLITE_DONE:
            sqlite3_reset(handle)
            return nil
        default:
            let error = Self.error(connection)
            sqlite3_reset(handle)
            throw error
        }
    }

    /// Tells SQLite to copy the text before the call returns.
    private static let transient = unsafeBitCast(-1, to: sqlite3_destructor_type.self)

    private static func error(_ connection: OpaquePointer) -> DatabaseError {
        DatabaseError(
            resultCode: ResultCode(rawValue: sqlite3_extended_errcode(connection)),
            message: String(cString: sqlite3_errmsg(connection)))
    }
}
