import Files
import Glibc

/// Says that somebody works with a snapshot's file: while it lasts, neither `rm` nor garbage collection takes the
/// snapshot away. It ends with ``end()``, with the value, or with the last process that holds its descriptor.
package final class SnapshotUse: Sendable {
    /// As it was when the use began.
    package let snapshot: Snapshot
    private let lock: LockedFile

    init(_ snapshot: Snapshot, lock: LockedFile) {
        self.snapshot = snapshot
        self.lock = lock
    }

    /// For a child that is to go on with the use after this process: whoever inherits the descriptor (close-on-exec is
    /// set and has to be cleared in the child) holds the snapshot as long as it keeps it open. `nil` after ``end()``.
    package var descriptor: Int32? { lock.descriptor }
    /// The file that is locked; taking a shared `flock` on it is a use too.
    package var lockPath: String { lock.path }

    /// Adds a process that goes on with the use, for those who ask who it is.
    ///
    /// - Parameter purpose: as in "boot vm-1234".
    package func note(pid: Int32, _ purpose: String) {
        if let descriptor { SnapshotHolder.note(pid: pid, purpose, in: descriptor) }
    }

    package func end() { lock.close() }
}

/// A process that works with a snapshot, as it said itself: for people to read, never to decide by.
package struct SnapshotHolder: Sendable, Hashable, Encodable {
    package let pid: Int32
    package let purpose: String

    /// Beyond this nobody adds a line: the file is emptied when nobody uses the snapshot.
    private static let largest = 64 << 10

    static func note(pid: Int32, _ purpose: String, in descriptor: Int32) {
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_size < largest, let start = startTime(of: pid) else { return }
        let words = purpose.unicodeScalars.map { $0.value < 0x20 ? " " : Character($0) }
        let line = Array("\(pid) \(start) \(String(words).prefix(200))\n".utf8)
        // In one piece and at the end: others write there too. What is lost is only a word to a person.
        _ = line.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    }

    /// Those of a file of uses that are still alive.
    static func all(in path: String) -> [SnapshotHolder] {
        guard let bytes = try? readFile(path, limit: largest * 2) else { return [] }
        var holders: [SnapshotHolder] = []
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let words = line.split(separator: " ", maxSplits: 2)
            guard words.count == 3, let pid = Int32(words[0]), pid > 0, let start = UInt64(words[1]),
                startTime(of: pid) == start
            else { continue }
            let holder = SnapshotHolder(pid: pid, purpose: String(words[2]))
            if !holders.contains(holder) { holders.append(holder) }
        }
        return holders
    }

    /// Field 22 of /proc/pid/stat (proc(5)); the name before it may hold anything.
    private static func startTime(of pid: Int32) -> UInt64? {
        guard let bytes = try? readFile("/proc/\(pid)/stat", limit: 4096),
            let end = bytes.lastIndex(of: UInt8(ascii: ")"))
        else { return nil }
        let fields = bytes[(end + 1)...].split(separator: UInt8(ascii: " "))
        return fields.count > 19 ? UInt64(String(decoding: fields[19], as: UTF8.self)) : nil
    }
}

extension Catalog {
    /// Begins to work with a snapshot's file.
    ///
    /// - Parameters:
    ///   - snapshot: as ``find(_:)`` gave it.
    ///   - purpose: what for, as in "export" or "boot"; shown to who wants to remove the snapshot.
    /// - Throws: `snapshotNotFound` when it was removed, or its file is not there or has another size.
    package func use(_ snapshot: Snapshot, for purpose: String) async throws -> SnapshotUse {
        try await onOwnThread {
            let path = layout.usage(of: snapshot.id)
            guard fileExists(layout.directory(of: snapshot.id)) else { throw Self.missing(snapshot) }
            guard let lock = try usageLock(path, of: snapshot) else {
                throw SnapshotError(
                    .failed, "snapshot \(snapshot.id) is being removed; if it is not, try again", retryable: true)
            }
            guard let now = try database.snapshot(key: snapshot.key).map(located) else {
                throw SnapshotError(
                    .snapshotNotFound, "snapshot \(snapshot.id) was removed; list them: snapwf snapshots ls")
            }
            guard hasFile(now) else { throw Self.missing(now) }
            if let descriptor = lock.descriptor { SnapshotHolder.note(pid: getpid(), purpose, in: descriptor) }
            try database.touch(key: now.key, at: millisecondsNow())
            return SnapshotUse(now, lock: lock)
        }
    }

    private func usageLock(_ path: String, of snapshot: Snapshot) throws -> LockedFile? {
        do throws(FileError) {
            try emptyLongRecord(path)
            // Somebody removes it, or looks whether it is used: both are over at once.
            return try LockedFile.take(path, .shared, patience: .seconds(10))
        } catch {
            guard error.errno == ENOENT || error.errno == ENOTDIR else { throw error }
            throw Self.missing(snapshot)
        }
    }

    /// Lines of those who are gone are dropped when there are many and nobody uses the snapshot just now.
    private func emptyLongRecord(_ path: String) throws(FileError) {
        var status = stat()
        guard lstat(path, &status) == 0, status.st_size > 4096, let lock = try LockedFile.take(path, .exclusive) else {
            return
        }
        defer { lock.close() }
        if let descriptor = lock.descriptor { try retryingInterrupts("empty \(path)") { ftruncate(descriptor, 0) } }
    }

    /// How long somebody who only looks whether a snapshot is in use may be in the way.
    static let lookingPatience = Duration.milliseconds(200)

    static func missing(_ snapshot: Snapshot) -> SnapshotError {
        SnapshotError(
            .snapshotNotFound,
            """
            the file of snapshot \(snapshot.id) is not there with its \(snapshot.size) bytes: \(snapshot.path). Is its \
            disk mounted? If it is gone for good: snapwf snapshots rm --force \(snapshot.id)
            """)
    }

    /// Those who work with a snapshot now; `nil` when nobody does.
    package func holders(of snapshot: Snapshot) async throws -> [SnapshotHolder]? {
        try await onOwnThread {
            let path = layout.usage(of: snapshot.id)
            guard isRegularFile(path) else { return nil }
            if let free = try LockedFile.take(path, .exclusive, patience: Self.lookingPatience) {
                free.close()
                return nil
            }
            return SnapshotHolder.all(in: path)
        }
    }
}
