import Files
import Glibc
package import HelperInterface
import Synchronization

extension Catalog {
    /// Takes a finished ext4 file into the store. The file is moved (copied only across file systems).
    ///
    /// Calling it again for the same run and result gives the same snapshot; so does another run with the same key.
    /// - Parameters:
    ///   - file: where the helper left the image; may be gone when an earlier attempt moved it.
    ///   - sandbox: the sandbox whose work directory the image was made of, if it was.
    /// - Throws: `snapshotDamaged` when the file is not what the result says; `CancellationError`, and then the snapshot
    ///   has not become visible, even where nobody waited for that.
    package func register(
        _ result: PullResult, file: String, runID: String, capturedFrom sandbox: String? = nil
    ) async throws -> Snapshot {
        let origin = sandbox.map { SnapshotOrigin.captured(sandbox: $0, run: runID) } ?? .run(runID)
        let arrival = Arrival(
            result: result, file: file, origin: origin, directory: layout.incoming(ofRun: runID))
        return try await take(arrival)
    }

    /// Where an image that comes from elsewhere is gathered before it is registered. Belongs to the run, as all in its
    /// directory does: garbage collection ends it with the run.
    package func downloadPath(runID: String) -> String {
        layout.incoming(ofRun: runID) + "/" + CatalogLayout.imageName + ".download"
    }

    /// The snapshot of a result when the catalog has it with the very bytes: read and hashed.
    func registered(_ result: PullResult) async throws -> Snapshot? {
        try await onOwnThread { try intactSnapshot(of: result) }
    }

    /// Where a registration of this run has taken the image in, if it has.
    func incomingImage(runID: String) -> String {
        layout.incoming(ofRun: runID) + "/" + CatalogLayout.imageName
    }

    /// Removes what a registration did not need, because the snapshot was there already.
    func discardIncoming(runID: String) async throws {
        let directory = layout.incoming(ofRun: runID)
        try await onOwnThread { if fileExists(directory) { try removeTree(directory) } }
    }

    /// A file that is to become a snapshot.
    struct Arrival: Sendable {
        let result: PullResult
        let file: String
        let origin: SnapshotOrigin
        /// Where it is verified, on the store's file system; becomes the snapshot's directory as a whole.
        let directory: String

        var image: String { directory + "/" + CatalogLayout.imageName }
    }

    /// What a thread that does not know of its task looks at.
    private final class Cancellation: Sendable {
        let isAsked = Atomic(false)
    }

    func take(_ arrival: Arrival) async throws -> Snapshot {
        let cancellation = Cancellation()
        return try await withTaskCancellationHandler {
            try await onOwnThread { try takeBlocking(arrival, cancellation) }
        } onCancel: {
            cancellation.isAsked.store(true, ordering: .releasing)
        }
    }

    private func takeBlocking(_ arrival: Arrival, _ cancellation: Cancellation) throws -> Snapshot {
        let result = arrival.result
        guard CatalogLayout.isKey(result.key) else {
            throw SnapshotError(.snapshotDamaged, "the key of the image, \"\(result.key.prefix(80))\", is no key")
        }
        if let existing = try intactSnapshot(of: result), try reclaim(existing, arrival.origin) {
            return try database.snapshot(key: result.key).map(located) ?? existing
        }
        let snapshot = located(Snapshot(result, origin: arrival.origin, at: millisecondsNow()))
        do {
            let isStored = try prepare(arrival, for: snapshot)
            return try exclusively {
                // From here on it cannot be taken back.
                if cancellation.isAsked.load(ordering: .acquiring) { throw CancellationError() }
                if isStored {
                    guard hasFile(snapshot) else { throw Self.vanished(snapshot.path) }
                } else {
                    try publish(arrival.directory, as: snapshot)
                }
                probe("register:rename.after")
                try database.insert(snapshot)
                probe("register:row.after")
                return try database.snapshot(key: result.key).map(located) ?? snapshot
            }
        } catch let error as FileError {
            throw SnapshotError(
                error.isOutOfSpace ? .diskFull : .stateDirectory, "the snapshot could not be stored: \(error)",
                retryable: error.isOutOfSpace)
        }
    }

    /// The row, the document and the bytes of a result, when all are there. Reads and hashes all of the file.
    private func intactSnapshot(of result: PullResult) throws -> Snapshot? {
        guard let existing = try database.snapshot(key: result.key).map(located), existing.sha256 == result.sha256,
            hasFile(existing), existing.size == result.size,
            try SnapshotDocument.read(in: layout.directory(of: existing.id))?.sha256 == result.sha256,
            try HelperInterface.sha256(of: OpenFile(existing.path, O_RDONLY | O_NOFOLLOW)).hex == result.sha256
        else { return nil }
        return existing
    }

    /// What was pulled is from now on known to be what its key says.
    func vouch(for known: Snapshot, _ origin: SnapshotOrigin) async throws {
        guard case .pulled = known.origin else { return }
        try await onOwnThread { _ = try reclaim(known, origin) }
    }

    /// Says of a snapshot that is there already that it has just come once more. What was pulled and is made here now
    /// is from now on known to be what its key says.
    ///
    /// - Returns: false when it was removed meanwhile.
    private func reclaim(_ existing: Snapshot, _ origin: SnapshotOrigin) throws -> Bool {
        try exclusively {
            guard hasFile(existing), try database.snapshot(key: existing.key) != nil else { return false }
            if case .pulled = existing.origin { try database.setOrigin(origin, key: existing.key) }
            try database.touch(key: existing.key, at: millisecondsNow())
            return true
        }
    }

    /// Brings the file into its incoming directory, from wherever an earlier attempt left it, verified and with its
    /// document beside it.
    ///
    /// - Returns: whether it stands in its final place already, because an earlier attempt died before the row.
    private func prepare(_ arrival: Arrival, for snapshot: Snapshot) throws -> Bool {
        guard fileExists(arrival.file) || fileExists(arrival.image) else {
            try verify(snapshot.path, against: arrival.result)
            return true
        }
        try makeDirectories(arrival.directory, mode: 0o700)
        if !fileExists(arrival.image) { try moveIn(arrival.file, to: arrival.image) }
        probe("register:move.after")
        do {
            try verify(arrival.image, against: arrival.result)
        } catch let error as SnapshotError where error.code == .snapshotDamaged {
            try removeTree(arrival.directory)
            throw error
        }
        try SnapshotDocument(snapshot, of: arrival.result).write(in: arrival.directory)
        try syncDirectory(arrival.directory)
        probe("register:document.after")
        return false
    }

    /// Gives a verified directory the snapshot's name. Under the lock.
    ///
    /// What stands there already is another run's with the same key, or a ruin: the verified files take the place of
    /// its files, and the directory stays, for the locks of those who use the snapshot.
    private func publish(_ directory: String, as snapshot: Snapshot) throws(FileError) {
        let final = layout.directory(of: snapshot.id)
        do {
            try renameDurably(directory, to: final)
        } catch {
            switch error.errno {
            case ENOTDIR:
                try removeTree(final)
                try renameDurably(directory, to: final)
            case EEXIST, ENOTEMPTY:
                if !isRegularFile(snapshot.path) { try removeTree(snapshot.path) }
                for name in [CatalogLayout.imageName, SnapshotDocument.name] {
                    try renameDurably(directory + "/" + name, to: final + "/" + name)
                }
                try removeTree(directory)
            default: throw error
            }
        }
    }

    /// A sandbox wrote the file, so its name may stand for anything: only a regular file is taken.
    private func moveIn(_ file: String, to destination: String) throws(FileError) {
        guard isRegularFile(file) else {
            throw FileError("take \(file), which is no regular file", errno: EINVAL)
        }
        do {
            try renameDurably(file, to: destination)
        } catch {
            guard error.errno == EXDEV else { throw error }
            try copySparseFile(file, to: destination, mode: 0o600)
        }
    }

    /// Throws when the bytes are not those that the helper wrote.
    private func verify(_ path: String, against result: PullResult) throws {
        let actual = try HelperInterface.sha256(of: OpenFile(path, O_RDONLY | O_NOFOLLOW))
        guard actual.hex == result.sha256, actual.size == result.size else {
            throw SnapshotError(
                .snapshotDamaged,
                """
                \(path) has the SHA-256 \(actual.hex) and \(actual.size) bytes, but \(result.sha256) and \(result.size) \
                were announced: it was changed on the way. Do it again.
                """, retryable: true)
        }
    }

    static func vanished(_ path: String) -> SnapshotError {
        SnapshotError(.failed, "\(path) was removed meanwhile; do it again", retryable: true)
    }
}
