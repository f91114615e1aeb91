import GRDB

/// Hands out the numbers of everything that happens. Belongs to the writer's thread; used inside its transactions.
///
/// Numbers are reserved in the store thousands at a time, so that most commits need not touch the row. They have to be
/// in the order of the commits of all processes, so a reservation ends when another process has committed.
final class SequenceNumbers {
    /// How many numbers are reserved at once. What a process does not use is lost, out of 2^63.
    private static let reserve: Int64 = 16_384

    private var free: Range<Int64> = 0..<0
    /// SQLite's word for "another connection has committed".
    private var version: Int64?

    /// A transaction that may write begins.
    ///
    /// - Parameter version: SQLite's `data_version` in it.
    func begin(version: Int64?) {
        if version != self.version { free = 0..<0 }
        self.version = version
    }

    /// The transaction was rolled back, and with it perhaps the reservation.
    func abandon() {
        free = 0..<0
    }

    /// The next number.
    func next(_ db: Database) throws -> Int64 {
        if free.isEmpty { free = try reserve(db) }
        defer { free = free.dropFirst() }
        return free.lowerBound
    }

    private func reserve(_ db: Database) throws -> Range<Int64> {
        let end = try Int64.fetchOne(
            db, sql: "UPDATE sequence SET next = next + ? WHERE id = 1 RETURNING next", arguments: [Self.reserve])
        guard let end else {
            throw WorkflowError(.storeCorrupt, "the store has lost its sequence of numbers: restore a copy")
        }
        return end - Self.reserve..<end
    }
}
