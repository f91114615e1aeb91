import Files
import Glibc
package import HelperInterface

/// A directory of the store in which a file from elsewhere is gathered: by one process at a time, and kept when that
/// process dies, so that the next one goes on. Garbage collection removes it a day after the last change.
package final class IncomingPlace: Sendable {
    /// On the store's file system; whatever is in it goes when the snapshot is taken in.
    package let directory: String
    private let layout: CatalogLayout
    private let lock: LockedFile

    static let lockName = "lock"

    init(directory: String, in layout: CatalogLayout, lock: LockedFile) {
        self.directory = directory
        self.layout = layout
        self.lock = lock
    }

    /// Lets the next one in; the files stay.
    package func close() { lock.close() }

    /// Removes what was gathered, and lets the next one begin anew. Blocks.
    func remove() throws(FileError) {
        defer { lock.close() }
        try layout.removeFromSight(directory)
    }
}

extension Catalog {
    /// The place where the pull of one artifact gathers its file.
    ///
    /// - Parameter name: says which artifact it is, such as the hexadecimal digits of its digest: letters, digits, `.`,
    ///   `_` and `-`, at most 128.
    /// - Throws: `failed` when another process has it.
    package func incomingPlace(_ name: String) async throws -> IncomingPlace {
        try await onOwnThread { [layout] in
            let isName = !name.isEmpty && name.utf8.count <= 128 && name.utf8.allSatisfy(isNameByte)
            guard isName else { throw SnapshotError(.usage, "\"\(name)\" cannot name a directory of the store") }
            let directory = layout.incoming(ofPull: name)
            let patience = ContinuousClock.now + .seconds(1)
            while true {
                try makeDirectories(directory, mode: 0o700)
                do throws(FileError) {
                    if let lock = try LockedFile.take(directory + "/" + IncomingPlace.lockName, .exclusive) {
                        return IncomingPlace(directory: directory, in: layout, lock: lock)
                    }
                } catch {
                    // Garbage collection removes it in this very moment.
                    guard error.errno == ENOENT else { throw error }
                }
                guard ContinuousClock.now < patience else {
                    throw SnapshotError(
                        .failed, "another process pulls the same artifact now; wait for it, and do it again",
                        retryable: true)
                }
                usleep(10_000)
            }
        }
    }

    /// Takes in a finished file that no run of this machine made: verified, renamed, and the row last, as a run's is.
    ///
    /// - Parameters:
    ///   - result: what is known of the file; size and SHA-256 are checked.
    ///   - file: is moved, where it is on the store's file system.
    ///   - place: where it was gathered; is removed in the end.
    /// - Returns: the snapshot, which may have been there before.
    /// - Throws: `snapshotDamaged` when the file is not what the result says, and when the catalog has other bytes under
    ///   the same key.
    package func adopt(
        _ result: PullResult, file: String, from place: IncomingPlace, origin: SnapshotOrigin
    ) async throws -> Snapshot {
        try checkFacts(result)
        if let existing = try await onOwnThread({ try database.snapshot(key: result.key) }),
            existing.sha256 != result.sha256
        {
            throw SnapshotError(
                .snapshotDamaged,
                """
                \(existing.id) of this catalog has the same key and other bytes: one of the two is not what it says. \
                Look at it: snapwf snapshots verify \(existing.id)
                """)
        }
        // Below the place: what else was gathered there does not become part of the snapshot.
        let arrival = Arrival(
            result: result, file: file, origin: origin, directory: place.directory + "/whole")
        let snapshot = try await take(arrival)
        if case .pulled(let reference) = origin {
            try await note(
                SnapshotArtifact(reference: reference, way: .pulled, notedAt: millisecondsNow()), of: snapshot)
        }
        try await onOwnThread { try place.remove() }
        return snapshot
    }

    /// What comes from elsewhere is bounded before it becomes a row.
    private func checkFacts(_ result: PullResult) throws(SnapshotError) {
        let short = [result.image, result.manifestDigest, result.platform, result.uuid]
        let isHex = { (text: String, count: Int) in
            text.utf8.count == count && text.utf8.allSatisfy(CatalogLayout.isHexDigit)
        }
        guard isHex(result.key, 64), isHex(result.sha256, 64), short.allSatisfy({ $0.utf8.count <= 4096 }),
            result.config.utf8.count <= 8 << 20, result.size <= 1 << 60, result.entries >= 0
        else {
            throw SnapshotError(
                .badImage, "what the artifact says of its image cannot be: key, SHA-256, sizes or names")
        }
    }
}

/// Letters, digits, `.`, `_` and `-`.
func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
        true
    default: false
    }
}
