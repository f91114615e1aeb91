internal import Files
internal import Glibc
package import Logging
internal import Synchronization

/// Layers by their digest in a directory of the user's, laid out as the blobs of an OCI layout are:
/// `blobs/sha256/<hex>`, and `<hex>.partial` of one that is not whole yet.
///
/// A partial blob is locked by who writes it and gets its final name when its digest was proven, so a process that is
/// killed leaves what the next one goes on with. Nothing is synced: after a loss of power a file may hold anything, and
/// as every byte is hashed again when it is read, that is found. Nothing is ever removed but what is damaged; the
/// directory is the user's to empty, at any time, also while it is used.
package final class BlobCache: Sendable {
    /// What there is of a blob.
    enum Holding {
        case whole(StoredFile)
        /// Some bytes or none; nobody else writes to it.
        case partial(PartialBlob)
        /// Another process has it in hand, or the directory cannot be written to.
        case unavailable
    }

    private struct State {
        /// Blobs of which bytes were handed out that no digest has proven yet.
        var unproven: Set<Digest> = []
        var hasDropped = false
        var hasWarned = false
    }

    let directory: String
    private let logger: Logger
    private let state = Mutex(State())

    /// Makes the directory where it is missing; `invalidConfiguration` when that cannot be.
    package init(directory: String, logger: Logger) throws(OCIError) {
        self.directory = directory
        self.logger = logger
        for algorithm in Digest.Algorithm.allCases {
            do throws(FileError) {
                try makeDirectories("\(directory)/blobs/\(algorithm.rawValue)", mode: 0o755)
            } catch {
                // A full disk is no reason not to go on, as it is none later.
                guard error.isOutOfSpace else {
                    throw OCIError(
                        .invalidConfiguration,
                        "the cache \(printable(directory, limit: 400)) cannot be used: \(error)", cause: error)
                }
                warn(error)
            }
        }
    }

    /// What there is of a blob. What is whole is not proven yet: it must be hashed as it is read.
    func open(_ descriptor: Descriptor) -> Holding {
        let path = path(of: descriptor.digest)
        // Another process may finish or drop the blob between two looks; then one more look tells.
        for _ in 0..<4 {
            if let file = whole(descriptor, at: path) {
                note(descriptor.digest)
                return .whole(file)
            }
            do throws(FileError) {
                guard let partial = try PartialBlob(path: path, size: descriptor.size) else { continue }
                if partial.existing > 0 { note(descriptor.digest) }
                return .partial(partial)
            } catch {
                if error.errno == EWOULDBLOCK {
                    logger.info("another process fetches a blob", metadata: ["blob": "\(descriptor.digest.short)"])
                } else {
                    warn(error)
                }
                return .unavailable
            }
        }
        return .unavailable
    }

    private func whole(_ descriptor: Descriptor, at path: String) -> StoredFile? {
        let opened = retryingInterrupts { Glibc.open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) }
        guard opened >= 0 else { return nil }
        let file = SharedFile(descriptor: opened)
        var status = stat()
        guard fstat(opened, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
        guard Int64(status.st_size) == descriptor.size else {
            remove(descriptor.digest, why: "it has \(status.st_size) bytes instead of \(descriptor.size)")
            return nil
        }
        // So that the user can tell what is in use: find DIR -mtime +30 -delete
        _ = utimensat(AT_FDCWD, path, nil, 0)
        return StoredFile(file, size: descriptor.size)
    }

    private func path(of digest: Digest) -> String { "\(directory)/blobs/\(digest.algorithm.rawValue)/\(digest.hex)" }

    // MARK: Damage

    /// The digest of all bytes that were handed out of this blob was right.
    func proved(_ digest: Digest) {
        state.withLock { _ = $0.unproven.remove(digest) }
    }

    /// Removes a blob whose bytes are not those of its digest.
    func remove(_ digest: Digest, why: String) {
        unlink(path(of: digest))
        drop(digest, why)
    }

    /// Removes a blob that is whole and needed no more.
    package func forget(_ digest: Digest) {
        unlink(path(of: digest))
        proved(digest)
    }

    private func drop(_ digest: Digest, _ why: String) {
        logger.warning(
            "a cached blob is damaged and was removed", metadata: ["blob": "\(digest)", "why": "\(why)"])
        state.withLock { state in
            state.unproven.remove(digest)
            state.hasDropped = true
        }
    }

    private func note(_ digest: Digest) {
        state.withLock { _ = $0.unproven.insert(digest) }
    }

    /// After a failure that wrong bytes can have caused: removes what was read from the cache and is not what it should
    /// be, or cannot be proven because it is a part. Blocking; nobody may read from the cache meanwhile.
    ///
    /// - Returns: whether anything was removed since the last call, so that another try makes sense.
    package func removeDamaged() -> Bool {
        for digest in state.withLock({ $0.unproven }).sorted(by: { $0.hex < $1.hex }) {
            let path = path(of: digest)
            if fileExists(path) {
                if let found = Self.digest(ofFile: path, digest.algorithm), found == digest {
                    proved(digest)
                } else {
                    remove(digest, why: "its bytes have another digest")
                }
            } else if PartialBlob.remove(path: path) {
                drop(digest, "what was there of it led to an error")
            }
        }
        return state.withLock { state in
            defer { state.hasDropped = false }
            return state.hasDropped
        }
    }

    private static func digest(ofFile path: String, _ algorithm: Digest.Algorithm) -> Digest? {
        var hasher = DigestHasher(algorithm: algorithm)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        do throws(FileError) {
            let file = try OpenFile(path, O_RDONLY | O_NOFOLLOW)
            var position = 0
            while true {
                let count = try file.read(into: buffer, at: position)
                if count == 0 { return hasher.finalize() }
                hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
                position += count
            }
        } catch {
            // What cannot be read is as good as damaged.
            return nil
        }
    }

    // MARK: Trouble

    /// The cache is a help, never a need: what goes wrong with it is told once, and the pull goes on without.
    func warn(_ error: FileError) {
        let isFirst = state.withLock { state in
            defer { state.hasWarned = true }
            return !state.hasWarned
        }
        guard isFirst else { return }
        logger.warning(
            "the cache cannot be written to, so the pull goes on without it", metadata: ["why": "\(error)"])
    }
}

/// A blob on its way into the cache, locked by whoever holds this.
final class PartialBlob: Sendable {
    /// Bytes that an earlier process left; unproven.
    let existing: Int64
    private let file: SharedFile
    private let path: String

    private var partial: String { path + ".partial" }

    /// Throws `EWOULDBLOCK` when somebody else writes to it. nil when somebody else just finished or dropped it.
    init?(path: String, size: Int64) throws(FileError) {
        let partial = path + ".partial"
        let descriptor = try retryingInterrupts("open \(partial)") {
            Glibc.open(partial, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0o644)
        }
        file = SharedFile(descriptor: descriptor)
        self.path = path
        try retryingInterrupts("lock \(partial)") { flock(descriptor, LOCK_EX | LOCK_NB) }
        var status = stat()
        try retryingInterrupts("look at \(partial)") { fstat(descriptor, &status) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw FileError("write \(partial)", errno: EINVAL) }
        guard Self.isNamed(partial, status) else { return nil }
        if Int64(status.st_size) > size {
            try retryingInterrupts("truncate \(partial)") { ftruncate(descriptor, 0) }
            existing = 0
        } else {
            existing = Int64(status.st_size)
        }
    }

    /// Closing the file would leave the lock with a child process that was just made and has not begun its program yet.
    deinit { flock(file.descriptor, LOCK_UN) }

    /// Only who holds the lock gives the file another name or none, so this stays true as long as it is held.
    private static func isNamed(_ path: String, _ status: stat) -> Bool {
        var named = stat()
        return lstat(path, &named) == 0 && named.st_ino == status.st_ino && named.st_dev == status.st_dev
    }

    /// The bytes that were there before.
    var stored: StoredFile { StoredFile(file, size: existing) }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: Int64) throws(FileError) {
        try OpenFile.write(file.descriptor, partial, bytes, at: Int(offset))
    }

    /// Gives a proven blob its name.
    func publish() throws(FileError) {
        try retryingInterrupts("rename \(partial)") { rename(partial, path) }
    }

    func remove() { unlink(partial) }

    /// Removes the part of a blob that nobody writes to. Who writes to it goes on.
    ///
    /// - Returns: whether the next one who needs the blob begins without these bytes.
    static func remove(path: String) -> Bool {
        do throws(FileError) {
            try PartialBlob(path: path, size: .max)?.remove()
            return true
        } catch {
            // It is somebody else's now, whom the next one does not wait for.
            return error.errno == EWOULDBLOCK
        }
    }
}
