/// Which snapshots are kept, when somebody asks for some to go. Pure: tests drive it with values.
package struct SnapshotRetention: Sendable, Hashable {
    /// That many stay, those that were used last; nil for no such number.
    package var keep: Int?
    /// Those go that were not used for longer than this, in milliseconds; nil for any.
    package var olderThan: Int64?
    /// Whether those that have a name go too.
    package var includesNamed: Bool

    package init(keep: Int? = nil, olderThan: Int64? = nil, includesNamed: Bool = false) {
        self.keep = keep
        self.olderThan = olderThan
        self.includesNamed = includesNamed
    }

    /// - Parameters:
    ///   - rank: how many snapshots were used later, all others counted, whether they may go or not.
    ///   - holders: those who work with it; nil when nobody does.
    ///   - now: in milliseconds since 1970.
    func verdict(on snapshot: Snapshot, rank: Int, holders: [SnapshotHolder]?, now: Int64) -> Verdict {
        if let holders {
            return .keep(
                "in use by " + (holders.first.map { "process \($0.pid) (\($0.purpose))" } ?? "another process"))
        }
        if !includesNamed, let name = snapshot.names.first { return .keep("it is called \"\(name)\"") }
        // A clock that was set back makes nothing older.
        let idle = max(now &- snapshot.lastUsedAt, 0)
        if let keep, rank < keep { return .keep("it is among the \(keep) that were used last") }
        if let olderThan, idle <= olderThan { return .keep("it was used \(idle / 1000) s ago") }
        guard keep != nil || olderThan != nil else { return .keep("nothing says that it is to go") }
        let others = keep.map { "\($0) others were used later" }
        let age = olderThan.map { _ in "it was last used \(idle / 1000) s ago" }
        return .remove([others, age].compactMap(\.self).joined(separator: ", and "))
    }
}
