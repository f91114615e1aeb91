/// A store as one end of a copy.
///
/// Rows are copied as they stand, with their numbers. Nothing of it is atomic but each call: that nobody changes what is
/// copied, and nobody uses what is half copied, the stores' standings see to.
protocol CopyableStore: WorkflowStore {
    /// Changes the standing if it still is what it was taken for.
    ///
    /// - Parameter fencing: whether the epoch of every run that somebody may write to is raised in the same transaction, so that an
    ///   executor or a collector that lost its claim and does not know it can write nothing.
    /// - Throws: `storeBusy` if it is another meanwhile.
    func setStanding(_ new: StoreStanding, insteadOf old: StoreStanding, fencing: Bool) async throws

    /// Rows behind a number, in their order.
    func page(of table: CopiedTable, after key: Int64, limit: Int) async throws -> CopiedPage
    /// Adds rows to a store that stands `filling`.
    func append(_ page: CopiedPage, to table: CopiedTable, as standing: StoreStanding) async throws
    /// The largest number of a row; 0 without rows.
    func lastKey(of table: CopiedTable) async throws -> Int64
    /// Removes all rows from a store that stands `filling`.
    func clear(as standing: StoreStanding) async throws

    /// The first number that was given to nothing yet.
    func nextNumber() async throws -> Int64
    /// Gives no number below this from now on.
    func skipNumbers(below number: Int64) async throws
}

extension CopyableStore {
    func setStanding(_ new: StoreStanding, insteadOf old: StoreStanding) async throws {
        try await setStanding(new, insteadOf: old, fencing: false)
    }
}

extension WorkflowError {
    static func standingChanged(_ place: String) -> WorkflowError {
        WorkflowError(.storeBusy, "somebody else copies, moves or reopens \(place) just now: look at it, and try again")
    }
}

extension WorkflowError {
    static func otherColumns(_ table: CopiedTable, _ here: [String], _ there: [String]) -> WorkflowError {
        let different = Set(here).symmetricDifference(there).sorted().joined(separator: ", ")
        return WorkflowError(
            .storeFailed,
            "the table \(table.rawValue) has other columns in the two stores (\(different)): open both once")
    }
}
