import Files

extension Catalog {
    /// What has to be true of a snapshot when it is removed, looked at once nobody can change it any more.
    package struct RemovalConditions: Sendable {
        /// Names that the snapshot may have; `nil` for any.
        package var names: [String]?
        /// Milliseconds since 1970: it must not have been used later; `nil` for whenever.
        package var lastUsedAt: Int64?
        /// Whether the row goes even where its directory is not there, as when a disk is not mounted.
        package var allowsMissingFile: Bool

        package static let none = RemovalConditions(allowsMissingFile: true)

        package init(names: [String]? = nil, lastUsedAt: Int64? = nil, allowsMissingFile: Bool = false) {
            self.names = names
            self.lastUsedAt = lastUsedAt
            self.allowsMissingFile = allowsMissingFile
        }
    }

    /// Removes a snapshot and its file; its names and labels go with it.
    ///
    /// The document goes first, then the row, then the file: what a crash leaves is a snapshot that can be removed
    /// again, or garbage that collection finds. Nothing there is success.
    /// - Throws: `snapshotInUse` naming who works with it, which nothing overrules; the same where a condition does not
    ///   hold, saying which.
    package func remove(_ snapshot: Snapshot, if conditions: RemovalConditions) async throws {
        try await onOwnThread { try exclusively { try removeBlocking(snapshot, conditions) } }
    }

    private func removeBlocking(_ snapshot: Snapshot, _ conditions: RemovalConditions) throws {
        guard let now = try database.snapshot(key: snapshot.key) else { return }
        if let allowed = conditions.names, let other = now.names.first(where: { !allowed.contains($0) }) {
            throw SnapshotError(
                .snapshotInUse,
                """
                snapshot \(now.id) is called \(now.names.map { "\"\($0)\"" }.joined(separator: ", ")); take the name away \
                (snapwf snapshots untag \(other)), or say --force
                """)
        }
        if let lastUsedAt = conditions.lastUsedAt, now.lastUsedAt > lastUsedAt {
            throw SnapshotError(.snapshotInUse, "snapshot \(now.id) was used in this moment")
        }
        let directory = layout.directory(of: now.id)
        let usage = layout.usage(of: now.id)
        guard fileExists(directory) else {
            guard conditions.allowsMissingFile else { throw Self.missing(located(now)) }
            return try database.remove(key: now.key)
        }
        guard let lock = try LockedFile.take(usage, .exclusive, patience: Self.lookingPatience) else {
            throw Self.inUse(now, by: SnapshotHolder.all(in: usage))
        }
        defer { lock.close() }
        try removeTree(directory + "/" + SnapshotDocument.name)
        try syncDirectory(directory)
        probe("remove:document.after")
        try database.remove(key: now.key)
        probe("remove:row.after")
        // Those who are about to use it find no file to lock.
        try layout.removeFromSight(directory)
    }

    private static func inUse(_ snapshot: Snapshot, by holders: [SnapshotHolder]) -> SnapshotError {
        let who =
            holders.isEmpty
            ? "another process" : holders.map { "process \($0.pid) (\($0.purpose))" }.joined(separator: ", ")
        return SnapshotError(
            .snapshotInUse, "snapshot \(snapshot.id) is in use by \(who); end that first, and do it again")
    }

    /// Removes the snapshots that a run registered, the one under `key` if there is such a key, and what a registration
    /// of the run that was given up left. One that somebody named stays, and so does one that is in use.
    ///
    /// - Parameter sparingUsed: whether one in use is left without a word.
    /// - Throws: `snapshotInUse`, when everything else is removed.
    package func remove(madeBy runID: String, key: String? = nil, sparingUsed: Bool = false) async throws {
        var refusal: (any Error)?
        for snapshot in try await snapshots() where snapshot.runID == runID || snapshot.key == key {
            guard snapshot.names.isEmpty else { continue }
            do {
                try await remove(snapshot, if: RemovalConditions(names: [], allowsMissingFile: true))
            } catch let error as SnapshotError where error.code == .snapshotInUse {
                // Named in this very moment, or worked with.
                refusal = error
            }
        }
        try await onOwnThread {
            try exclusively {
                let known = Set(try database.snapshots().map(\.id))
                for name in try directoryNames(layout.root) where !known.contains(name) {
                    let path = layout.directory(of: name)
                    let isRuns = try SnapshotDocument.read(in: path)?.snapshot.runID == runID
                    if path == layout.incoming(ofRun: runID) || isRuns { try removeTree(path) }
                }
            }
        }
        if let refusal, !sparingUsed { throw refusal }
    }
}
