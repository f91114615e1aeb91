import Files
import FoundationEssentials
import Glibc
package import HelperInterface
import Synchronization

/// The snapshots on this machine: files named by their key, and a row for each that is visible.
///
/// A snapshot is registered in an order that a crash cannot spoil: the file moves into a directory of the run
/// (`.incoming-<run>`), is verified there, the directory is renamed to the snapshot's id, and the row comes last.
/// Whatever a crash leaves is either finished by the same run's next attempt or removed by garbage collection.
package struct Catalog: Sendable {
    private let state: StateDirectory
    private let database: CatalogDatabase
    private let probe: @Sendable (String) -> Void

    static let incomingPrefix = ".incoming-"
    private static let imageName = "rootfs.ext4"
    private static let documentName = "snapshot.json"

    /// Blocks shortly: opens the database and brings its schema up to date.
    ///
    /// - Parameter probe: called at named points of a registration, so that a test can die exactly there.
    package init(
        state: StateDirectory, probe: @escaping @Sendable (String) -> Void = { _ in }
    ) throws(SnapshotError) {
        self.probe = probe
        self.state = state
        database = try CatalogDatabase(path: state.catalogDatabase)
    }

    /// The snapshot under a key, when it is there and its file is.
    ///
    /// Where the file is gone or has another size (a store half copied, or not mounted) there is no snapshot for now;
    /// the row stays, and making the snapshot anew brings it up to date.
    package func snapshot(forKey key: String) async throws -> Snapshot? {
        try await onOwnThread {
            guard let snapshot = try database.snapshot(key: key).map(located) else { return nil }
            guard fileSize(snapshot.path) == snapshot.size else { return nil }
            try database.touch(key: key, at: millisecondsNow())
            return snapshot
        }
    }

    package func snapshots() async throws -> [Snapshot] {
        try await onOwnThread { try database.snapshots().map(located) }
    }

    /// Takes a finished ext4 file into the store. The file is moved (copied only across file systems).
    ///
    /// Calling it again for the same run and result gives the same snapshot; so does another run with the same key.
    /// - Parameter file: where the helper left the image; may be gone when an earlier attempt moved it.
    /// - Throws: `snapshotDamaged` when the file is not what the result says; `CancellationError`, and then the snapshot
    ///   has not become visible, even where nobody waited for that.
    package func register(_ result: PullResult, file: String, runID: String) async throws -> Snapshot {
        let cancellation = Cancellation()
        return try await withTaskCancellationHandler {
            try await onOwnThread { try registerBlocking(result, file: file, runID: runID, cancellation) }
        } onCancel: {
            cancellation.isAsked.store(true, ordering: .releasing)
        }
    }

    /// What a thread that does not know of its task looks at.
    private final class Cancellation: Sendable {
        let isAsked = Atomic(false)
    }

    /// Where an image that comes from elsewhere is gathered before it is registered. Belongs to the run, as all in its
    /// directory does: garbage collection ends it with the run.
    package func downloadPath(runID: String) -> String {
        state.snapshots + "/" + Self.incomingPrefix + runID + "/" + Self.imageName + ".download"
    }

    /// The snapshot of a result when the catalog has it with the very bytes: read and hashed.
    func registered(_ result: PullResult) async throws -> Snapshot? {
        try await onOwnThread {
            guard let existing = try database.snapshot(key: result.key).map(located),
                try isIntact(existing.path, result)
            else { return nil }
            return existing
        }
    }

    /// Whether a registration of this run has taken the image in already.
    func hasIncomingImage(runID: String) -> Bool {
        fileExists(state.snapshots + "/" + Self.incomingPrefix + runID + "/" + Self.imageName)
    }

    /// Removes what a registration did not need, because the snapshot was there already.
    func discardIncoming(runID: String) async throws {
        let directory = state.snapshots + "/" + Self.incomingPrefix + runID
        try await onOwnThread { if fileExists(directory) { try removeTree(directory) } }
    }

    private func registerBlocking(
        _ result: PullResult, file: String, runID: String, _ cancellation: Cancellation
    ) throws -> Snapshot {
        if let existing = try database.snapshot(key: result.key).map(located), try isIntact(existing.path, result) {
            return existing
        }
        let now = millisecondsNow()
        let snapshot = located(
            Snapshot(
                id: "snap-" + result.key.prefix(16), key: result.key, path: "", image: result.image,
                manifestDigest: result.manifestDigest, platform: result.platform, sha256: result.sha256,
                uuid: result.uuid, size: result.size, entries: result.entries, config: result.config, runID: runID,
                createdAt: now, lastUsedAt: now))
        do {
            try place(file, as: snapshot, result: result)
        } catch let error as FileError {
            throw SnapshotError(
                error.isOutOfSpace ? .diskFull : .stateDirectory, "the snapshot could not be stored: \(error)",
                retryable: error.isOutOfSpace)
        }
        if cancellation.isAsked.load(ordering: .acquiring) { throw CancellationError() }
        try database.insert(snapshot)
        probe("register:row.after")
        return try database.snapshot(key: result.key).map(located) ?? snapshot
    }

    /// Brings the verified file to its final path, from wherever an earlier attempt left it.
    private func place(_ file: String, as snapshot: Snapshot, result: PullResult) throws {
        let incoming = state.snapshots + "/" + Self.incomingPrefix + snapshot.runID
        let image = incoming + "/" + Self.imageName
        let final = directory(of: snapshot.id)
        guard fileExists(file) || fileExists(image) else {
            // An earlier attempt died between the rename and the row.
            return try verify(snapshot.path, against: result)
        }
        try makeDirectories(incoming, mode: 0o700)
        if !fileExists(image) { try moveIn(file, to: image) }
        probe("register:move.after")
        try verify(image, against: result)
        try replaceFile(incoming + "/" + Self.documentName, Array(try encode(snapshot)), mode: 0o600)
        try syncDirectory(incoming)
        probe("register:document.after")
        do {
            try renameDurably(incoming, to: final)
        } catch {
            guard error.errno == EEXIST || error.errno == ENOTEMPTY else { throw error }
            // Another run with this key was faster; or what stands there is a ruin, and what we verified takes its place.
            if try isIntact(snapshot.path, result) {
                try removeTree(incoming)
            } else {
                try removeTree(final)
                try renameDurably(incoming, to: final)
            }
        }
        probe("register:rename.after")
    }

    private func encode(_ snapshot: Snapshot) throws -> Data {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return try encoder.encode(snapshot)
    }

    /// A sandbox wrote the file, so its name may stand for anything: only a regular file is taken.
    private func moveIn(_ file: String, to destination: String) throws(FileError) {
        var status = stat()
        try retryingInterrupts("look at \(file)") { lstat(file, &status) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw FileError("take \(file), which is no regular file", errno: EINVAL)
        }
        do {
            try renameDurably(file, to: destination)
        } catch {
            guard error.errno == EXDEV else { throw error }
            try copySparseFile(file, to: destination, mode: 0o600)
        }
    }

    /// Whether a file in the store is there with the bytes that the helper wrote.
    private func isIntact(_ path: String, _ result: PullResult) throws(FileError) -> Bool {
        guard fileSize(path) == result.size else { return false }
        return try sha256(of: OpenFile(path, O_RDONLY)).hex == result.sha256
    }

    /// Throws, and removes the directory of the file, when the bytes are not those that the helper wrote.
    private func verify(_ path: String, against result: PullResult) throws {
        let actual = try sha256(of: OpenFile(path, O_RDONLY)).hex
        guard actual == result.sha256 else {
            try removeTree(parentDirectory(of: path))
            throw SnapshotError(
                .snapshotDamaged,
                """
                \(path) has the SHA-256 \(actual), but the helper wrote \(result.sha256): it was changed on the way. \
                The damaged file is removed; run again.
                """, retryable: true)
        }
    }

    /// Puts a copy of a snapshot where the user wants it: `path.partial`, then `path`.
    package func export(_ snapshot: Snapshot, to path: String) async throws {
        try await onOwnThread {
            do {
                try copySparseFile(snapshot.path, to: path)
            } catch let error as FileError {
                throw SnapshotError(
                    error.isOutOfSpace ? .diskFull : .failed, "the snapshot could not be exported: \(error)")
            }
        }
    }

    /// Removes the snapshots that a run registered, the one under `key` if there is such a key, and what a registration
    /// of the run that was given up left. The row goes first: what a crash then leaves of the directory is garbage that
    /// collection finds.
    package func remove(madeBy runID: String, key: String? = nil) async throws {
        try await onOwnThread {
            var known: Set<String> = []
            for snapshot in try database.snapshots() {
                known.insert(snapshot.id)
                guard snapshot.runID == runID || snapshot.key == key else { continue }
                try database.remove(key: snapshot.key)
                try removeTree(directory(of: snapshot.id))
            }
            for name in try directoryNames(state.snapshots) where !known.contains(name) {
                let path = state.snapshots + "/" + name
                if try name == Self.incomingPrefix + runID || self.runID(in: path) == runID { try removeTree(path) }
            }
        }
    }

    /// The run that wrote the document in a directory of the store; `nil` where none can be read.
    private func runID(in directory: String) throws -> String? {
        struct Document: Decodable { var runID: String }
        guard let bytes = try readFile(directory + "/" + Self.documentName, limit: 64 << 20) else { return nil }
        return try? JSONDecoder().decode(Document.self, from: Data(bytes)).runID
    }

    // MARK: - Garbage

    /// Directories of the store without a row: what a registration that died left behind.
    package func unregistered() async throws -> [UnregisteredDirectory] {
        try await onOwnThread {
            let known = Set(try database.snapshots().map(\.id))
            return try directoryNames(state.snapshots).filter { !known.contains($0) }.map { name in
                let path = state.snapshots + "/" + name
                var status = stat()
                let modified = lstat(path, &status) == 0 ? Int64(status.st_mtim.tv_sec) * 1000 : millisecondsNow()
                let runID = name.hasPrefix(Self.incomingPrefix) ? name.dropFirst(Self.incomingPrefix.count) : nil
                return UnregisteredDirectory(path: path, runID: runID.map(String.init), modifiedAt: modified)
            }
        }
    }

    /// Removes a directory that ``unregistered()`` named, unless it was registered meanwhile.
    package func remove(_ directory: UnregisteredDirectory) async throws {
        guard try await unregistered().contains(where: { $0.path == directory.path }) else { return }
        try await onOwnThread { try removeTree(directory.path) }
    }

    package struct UnregisteredDirectory: Sendable {
        package let path: String
        /// The run that was registering, when the name tells.
        package let runID: String?
        /// Milliseconds since 1970.
        package let modifiedAt: Int64
    }

    // MARK: -

    private func directory(of id: String) -> String { state.snapshots + "/" + id }

    private func located(_ snapshot: Snapshot) -> Snapshot {
        var snapshot = snapshot
        snapshot.path = directory(of: snapshot.id) + "/" + Self.imageName
        return snapshot
    }

    private func fileSize(_ path: String) -> UInt64? {
        var status = stat()
        return stat(path, &status) == 0 ? UInt64(clamping: status.st_size) : nil
    }
}
