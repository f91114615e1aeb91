import GRDBSQLite

/// The SQLite that this process runs with.
package enum SQLiteLibrary {
    /// Such as `3.51.3`.
    package static var version: String { String(cString: sqlite3_libversion()) }

    /// Whether it can damage a database when a checkpoint overlaps another connection's commit; see
    /// `WritingDatabase` for how that is kept from happening.
    package static var hasWALResetBug: Bool { hasWALResetBug(sqlite3_libversion_number()) }

    /// - Parameter number: the version as SQLite counts: major × 1 000 000 + minor × 1 000 + patch.
    static func hasWALResetBug(_ number: Int32) -> Bool { (3_007_000...3_051_002).contains(number) }
}
