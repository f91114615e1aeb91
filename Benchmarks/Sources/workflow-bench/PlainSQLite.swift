import CSQLite

/// The peer: SQLite's C library without anything around it, one row a transaction, as safe as the engine's commits, and
/// otherwise as SQLite comes (it moves its log every 1000 pages).
final class PlainSQLite {
    private let database: OpaquePointer
    private let insert: OpaquePointer

    static var version: String { String(cString: sqlite3_libversion()) }

    init(path: String) throws {
        var opened: OpaquePointer?
        let code = sqlite3_open(path, &opened)
        guard code == SQLITE_OK, let opened else { throw Failed(what: "open", code: code) }
        database = opened
        let setUp = """
            PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
            CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT;
            """
        let executed = sqlite3_exec(opened, setUp, nil, nil, nil)
        guard executed == SQLITE_OK else { throw Failed(what: "set up", code: executed) }
        var prepared: OpaquePointer?
        let compiled = sqlite3_prepare_v2(opened, "INSERT INTO rows (text) VALUES ('a step')", -1, &prepared, nil)
        guard compiled == SQLITE_OK, let prepared else { throw Failed(what: "prepare", code: compiled) }
        insert = prepared
    }

    deinit {
        sqlite3_finalize(insert)
        sqlite3_close(database)
    }

    /// Commits one row a transaction.
    func commit(_ count: Int) throws {
        for _ in 0..<count {
            let code = sqlite3_step(insert)
            guard code == SQLITE_DONE else { throw Failed(what: "insert", code: code) }
            sqlite3_reset(insert)
        }
    }

    struct Failed: Error {
        let what: String
        let code: Int32
    }
}
