import CoreMetrics
import Foundation

/// Moves all runs of a store to another one, with everything that is recorded about them, ended or in the middle.
///
/// 1. The store that they come from is closed: no run is begun, claimed, cancelled or deleted in it any more. Then nobody
///    may be at work on one; and every epoch is raised, so that whoever lost a lease without knowing it can write nothing.
/// 2. The other store, which must be empty, is marked as being filled, so that nobody uses half of the runs.
/// 3. Rows are copied, some hundred a transaction, with their numbers.
/// 4. Both are read again, and counts and checksums of all rows compared.
/// 5. The new store is opened, and the old one says where its runs went.
///
/// Killed anywhere, it is started again and goes on where it was. Until the last but one commit the old store has all runs
/// and may be reopened (``StoreReopening``).
package struct StoreCopy: Sendable {
    /// What came of it.
    package struct Report: Sendable, Hashable {
        package struct Table: Sendable, Hashable {
            package let name: String
            package let rows: Int
            /// SHA-256 over all rows, the same in both stores.
            package let checksum: String
        }

        /// Empty where it had been done before.
        package let tables: [Table]
        package let from: String
        package let to: String
        /// Whether there was nothing left to do.
        package let wasDone: Bool
        /// Of the old and of the new store.
        package let oldID: String
        package let newID: String
    }

    private let from: any CopyableStore
    private let to: any CopyableStore
    /// Passed between any two commits, by name, so that a test can die exactly there.
    private let probe: @Sendable (String) -> Void

    /// - Throws: ``WorkflowError`` with `noStore`, what opening a store throws, `runHeld` while somebody executes a run of the
    ///   old store, `storeMoved` if its runs went elsewhere, `storeNotEmpty` if the new store has runs of its own,
    ///   `storeFailed` if the copy is not the same.
    package static func move(
        from old: StoreConfiguration, to new: StoreConfiguration, clock: any EngineClock = SystemClock(),
        probe: @escaping @Sendable (String) -> Void = { _ in }
    ) async throws -> Report {
        // An engine would make the store that is missing.
        do {
            await (try await old.openForReading(clock: clock)).close()
        } catch let error as WorkflowError where error.code == .storeNeedsMigration {
            // It is opened to be written, below.
        }
        let from = try await old.openForCopying(clock: clock)
        do {
            let to = try await new.openForCopying(clock: clock)
            do {
                let report = try await StoreCopy(from: from, to: to, probe: probe).run()
                await to.close()
                await from.close()
                return report
            } catch {
                await to.close()
                throw error
            }
        } catch {
            await from.close()
            throw error
        }
    }

    private func run() async throws -> Report {
        var old = try await from.standing()
        var new = try await to.standing()
        guard old.id != new.id else {
            throw WorkflowError(
                .storeNotEmpty,
                "\(from.place) and \(to.place) are the same store, or one is a copy of the other's files")
        }
        if new.state == .open, new.ancestors.last == old.id, old.peer == new.id {
            return try await settle(old, new)
        }
        try await requireRoom(new, for: old)
        old = try await close(old, for: new)
        probe("closed")
        new = try await mark(new, from: old)
        probe("marked")
        for table in CopiedTable.allCases { try await copy(table, as: new) }
        probe("copied")
        let tables = try await verified()
        try await to.skipNumbers(below: try await from.nextNumber())
        probe("verified")
        try await to.setStanding(new.opened(inheriting: old), insteadOf: new)
        probe("opened")
        try await moved(old)
        probe("moved")
        return report(tables, old, new)
    }

    private func report(_ tables: [Report.Table], _ old: StoreStanding, _ new: StoreStanding) -> Report {
        Report(
            tables: tables, from: from.place, to: to.place, wasDone: tables.isEmpty, oldID: old.id, newID: new.id)
    }

    /// The copy was done; the old store may not know it yet.
    private func settle(_ old: StoreStanding, _ new: StoreStanding) async throws -> Report {
        if old.state != .moved { try await moved(old) }
        return report([], old, new)
    }

    private func moved(_ old: StoreStanding) async throws {
        var gone = old
        gone.state = .moved
        try await from.setStanding(gone, insteadOf: old)
    }

    // MARK: - Before

    private func requireRoom(_ new: StoreStanding, for old: StoreStanding) async throws {
        switch new.state {
        case .open:
            guard try await to.runs(RunQuery(limit: 1)).isEmpty else {
                throw WorkflowError(
                    .storeNotEmpty,
                    "\(to.place) has runs already, and two stores are not mixed: name a new file, database or schema")
            }
        case .filling where new.peer == old.id: return
        case .filling:
            throw WorkflowError(
                .storeNotEmpty,
                "runs are being copied to \(to.place) from \(new.peerName ?? "another store"): name another one, or "
                    + "finish that")
        case .closing, .moving, .moved:
            throw WorkflowError(
                .storeNotEmpty,
                "the runs of \(to.place) went to \(new.peerName ?? "another store"), and it still has them as they were: "
                    + "name a new file, database or schema")
        }
    }

    private func close(_ old: StoreStanding, for new: StoreStanding) async throws -> StoreStanding {
        var standing = old
        switch old.state {
        case .moving where old.peer == new.id: return old
        case .closing where old.peer == new.id: break
        case .open:
            try await requireRest()
            standing.state = .closing
            standing.copy = UUID().uuidString.lowercased()
            standing.peer = new.id
            standing.peerName = to.place
            try await from.setStanding(standing, insteadOf: old)
            probe("closing")
        default: try old.requireOpen(from.place)
        }
        do {
            // Somebody may have claimed a run just before; none can any more.
            try await requireRest()
        } catch {
            try await from.setStanding(standing.opened(), insteadOf: standing)
            throw error
        }
        var closed = standing
        closed.state = .moving
        try await from.setStanding(closed, insteadOf: standing, fencing: true)
        return closed
    }

    /// Throws if somebody holds an unfinished run.
    private func requireRest() async throws {
        var query = RunQuery(statuses: [.pending, .running, .sleeping], limit: 1000)
        var held: [RunRecord] = []
        while held.count < 5 {
            let page = try await from.runs(query)
            for run in page where await from.isHeld(run.id) { held.append(run) }
            guard page.count == query.limit, let last = page.last else { break }
            query.before = last.id
        }
        guard let first = held.first else { return }
        let names = held.prefix(5).map { run in
            run.id.description + (run.owner.map { " (process \($0.pid) on \($0.host))" } ?? "")
        }
        throw WorkflowError(
            .runHeld(by: first.owner),
            "somebody executes runs of \(from.place), and they stay where they are until nobody does: "
                + names.joined(separator: ", "))
    }

    private func mark(_ new: StoreStanding, from old: StoreStanding) async throws -> StoreStanding {
        if new.state == .filling, new.copy == old.copy {
            // Killed before it was cleared, see below.
            if try await to.lastKey(of: .runs) == 0 { try await to.clear(as: new) }
            return new
        }
        var standing = new.opened()
        standing.state = .filling
        standing.copy = old.copy
        standing.peer = old.id
        standing.peerName = from.place
        try await to.setStanding(standing, insteadOf: new)
        // It has no runs; but a worker may have made queues known, or another copying of the same store was given up.
        try await to.clear(as: standing)
        return standing
    }

    // MARK: - Rows

    private func copy(_ table: CopiedTable, as standing: StoreStanding) async throws {
        var key = try await to.lastKey(of: table)
        var limit = PageLimit()
        while true {
            let page = try await from.page(of: table, after: key, limit: limit.rows)
            guard let last = page.rows.last else { return }
            try await to.append(page, to: table, as: standing)
            probe("page:\(table.rawValue)")
            key = last.key
            limit.adapt(to: page)
        }
    }

    private func verified() async throws -> [Report.Table] {
        var tables: [Report.Table] = []
        for table in CopiedTable.allCases {
            let old = try await checksum(of: table, in: from)
            let new = try await checksum(of: table, in: to)
            guard old.rows == new.rows, old.text == new.text else {
                throw WorkflowError(
                    .storeFailed,
                    "the table \(table.rawValue) is not the same in both stores (\(old.rows) rows in \(from.place), "
                        + "\(new.rows) in \(to.place)): nothing is lost, reopen the old one and copy to another")
            }
            tables.append(Report.Table(name: table.rawValue, rows: old.rows, checksum: old.text))
        }
        return tables
    }

    private func checksum(of table: CopiedTable, in store: any CopyableStore) async throws -> RowChecksum {
        var sum = RowChecksum()
        var key: Int64 = 0
        var limit = PageLimit()
        while true {
            let page = try await store.page(of: table, after: key, limit: limit.rows)
            guard let last = page.rows.last else { return sum }
            sum.add(page)
            key = last.key
            limit.adapt(to: page)
        }
    }
}

/// Opens a store again whose runs went elsewhere, or were about to.
package enum StoreReopening {
    /// From now on there may be two stores with the same runs. Nothing keeps both from being executed: whoever reopens one
    /// has to see that the other is not used.
    ///
    /// - Returns: what the store was before.
    /// - Throws: ``WorkflowError`` with `noStore`, what opening a store throws, and `storeMoved` for one that is half filled.
    package static func reopen(
        _ store: StoreConfiguration, clock: any EngineClock = SystemClock()
    ) async throws -> (place: String, before: StoreStanding) {
        await (try await store.openForReading(clock: clock)).close()
        let opened = try await store.openForCopying(clock: clock)
        do {
            let before = try await opened.standing()
            switch before.state {
            case .open: break
            case .closing, .moving, .moved: try await opened.setStanding(before.opened(), insteadOf: before)
            case .filling: try before.requireOpen(opened.place)
            }
            await opened.close()
            return (opened.place, before)
        } catch {
            await opened.close()
            throw error
        }
    }
}

extension StoreConfiguration {
    fileprivate func openForCopying(clock: any EngineClock) async throws -> any CopyableStore {
        let metrics = StoreMetrics(MetricsSystem.factory)
        return switch place {
        case .file: try await SQLiteStore.open(self, clock: clock, metrics: metrics)
        case .server(let address): try await PostgresStore.open(self, address, clock: clock, metrics: metrics)
        }
    }
}
