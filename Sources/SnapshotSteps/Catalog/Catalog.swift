import Files
import Glibc

/// The snapshots on this machine: files named by their key, and a row for each that is visible.
///
/// A snapshot is registered in an order that a crash cannot spoil: the file moves into a directory of the run
/// (`.incoming-<run>`), is verified there, the directory is renamed to the snapshot's id, and the row comes last.
/// Whatever a crash leaves is either finished by the same run's next attempt or removed by garbage collection.
///
/// What makes a directory of the store visible, or removes one, happens under one lock beside the database; what uses
/// a snapshot's file holds a lock of the snapshot, see ``SnapshotUse``.
package struct Catalog: Sendable {
    let state: StateDirectory
    let database: CatalogDatabase
    let layout: CatalogLayout
    let probe: @Sendable (String) -> Void

    /// Blocks shortly: opens the database and brings its schema up to date.
    ///
    /// - Parameter probe: called at named points of a registration, so that a test can die exactly there.
    package init(
        state: StateDirectory, probe: @escaping @Sendable (String) -> Void = { _ in }
    ) throws(SnapshotError) {
        self.probe = probe
        self.state = state
        layout = CatalogLayout(root: state.snapshots)
        database = try CatalogDatabase(path: state.catalogDatabase)
    }

    /// The catalog of a state directory, for who only looks: `nil` where there is none yet, and none is made.
    package static func existing(
        in state: StateDirectory, probe: @escaping @Sendable (String) -> Void = { _ in }
    ) throws(SnapshotError) -> Catalog? {
        fileExists(state.catalogDatabase) ? try Catalog(state: state, probe: probe) : nil
    }

    /// The snapshot under a key, when it is there and its file is, and this machine made it.
    ///
    /// Where the file is gone or has another size (a store half copied, or not mounted) there is no snapshot for now;
    /// the row stays, and making the snapshot anew brings it up to date. What was pulled answers no run: that its bytes
    /// are those of the key is the word of whoever pushed it.
    package func snapshot(forKey key: String) async throws -> Snapshot? {
        try await onOwnThread {
            guard let snapshot = try database.snapshot(key: key).map(located), snapshot.runID != nil else { return nil }
            guard hasFile(snapshot) else { return nil }
            try database.touch(key: key, at: millisecondsNow())
            return snapshot
        }
    }

    /// All, the oldest first.
    package func snapshots() async throws -> [Snapshot] {
        try await onOwnThread { try database.snapshots().map(located) }
    }

    /// With the path that is not in the row, so that a store may be moved.
    func located(_ snapshot: Snapshot) -> Snapshot {
        var snapshot = snapshot
        snapshot.path = layout.image(of: snapshot.id)
        return snapshot
    }

    /// Whether the file is there, as what it should be, with the right size. Looks at no content.
    func hasFile(_ snapshot: Snapshot) -> Bool {
        var status = stat()
        return lstat(snapshot.path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
            && UInt64(clamping: status.st_size) == snapshot.size
    }

    /// Runs `body` while nobody else makes directories of the store visible or removes them. Blocks.
    ///
    /// - Throws: a retryable `catalog` when somebody else does so for more than a minute.
    func exclusively<Value>(_ body: () throws -> Value) throws -> Value {
        guard let lock = try LockedFile.take(state.catalogLock, .exclusive, patience: .seconds(60)) else {
            throw SnapshotError(
                .catalog,
                "another snapwf has held the catalog's lock for a minute; see who: fuser -v \(state.catalogLock)",
                retryable: true)
        }
        defer { lock.close() }
        return try body()
    }
}
