internal import Files
internal import Glibc

/// An archive that comes through a pipe, made into one that can be read from several places. Blocking.
struct StandardInput: Sendable {
    /// For messages.
    static let name = "the archive on standard input"

    var descriptor: Int32 = 0
    /// Where the archive is kept while it is used.
    let directory: String
    /// So long nothing may come: whoever writes may have to pack the image first.
    var stallLimit: Duration = .seconds(600)

    /// A file is used where it is; anything else is copied into an unlinked file, which a crash leaves nothing of.
    func open() throws(OCIError) -> ArchiveFile {
        guard isatty(descriptor) == 0 else {
            throw OCIError(
                .invalidReference,
                "standard input is a terminal: pipe an archive in, as docker save IMAGE | snapshot pull - …")
        }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw unreadable(errno) }
        if status.st_mode & S_IFMT == S_IFREG, lseek(descriptor, 0, SEEK_CUR) == 0 {
            let own = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
            guard own >= 0 else { throw unreadable(errno) }
            return try ArchiveFile(
                StoredFile(SharedFile(descriptor: own), size: Int64(status.st_size)), shown: Self.name)
        }
        let spool = try makeSpool()
        return try ArchiveFile(StoredFile(spool, size: try copy(to: spool)), shown: Self.name)
    }

    private func copy(to spool: SharedFile) throws(OCIError) -> Int64 {
        var size: Int64 = 0
        var head: [UInt8] = []
        var isChecked = false
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
        defer { buffer.deallocate() }
        while true {
            let count = try read(into: buffer)
            if !isChecked {
                head += buffer[..<min(count, TarHeader.size)]
                if count == 0 || head.count >= TarHeader.size {
                    // Before gigabytes of something else are stored.
                    try TarIndex.check(firstBytes: head, name: Self.name)
                    isChecked = true
                }
            }
            if count == 0 { return size }
            try write(UnsafeRawBufferPointer(rebasing: buffer[..<count]), to: spool, at: size)
            size += Int64(count)
        }
    }

    /// At least one byte, 0 at the end.
    private func read(into buffer: UnsafeMutableRawBufferPointer) throws(OCIError) -> Int {
        let deadline = ContinuousClock.now + stallLimit
        while true {
            var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            if poll(&waiting, 1, 500) > 0 {
                let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
                if count >= 0 { return count }
                guard errno == EINTR || errno == EAGAIN else { throw unreadable(errno) }
            }
            guard ContinuousClock.now < deadline else {
                throw OCIError(.timedOut, "nothing came on standard input for \(stallLimit.shown)", retryable: false)
            }
        }
    }

    private func write(_ bytes: UnsafeRawBufferPointer, to spool: SharedFile, at offset: Int64) throws(OCIError) {
        var written = 0
        while written < bytes.count {
            let count = retryingInterrupts {
                pwrite(
                    spool.descriptor, bytes.baseAddress.map { $0 + written }, bytes.count - written,
                    off_t(offset) + off_t(written))
            }
            guard count > 0 else { throw spoolFailure(count == 0 ? ENOSPC : errno) }
            written += count
        }
    }

    private func makeSpool() throws(OCIError) -> SharedFile {
        // Without a name from the start where the file system can do that (kernel: fcntl.h, __O_TMPFILE).
        let unnamed = 0o20000000 | O_DIRECTORY
        var opened = Glibc.open(directory, O_RDWR | O_CLOEXEC | unnamed, 0o600)
        var attempts = 16
        while opened < 0, attempts > 0 {
            attempts -= 1
            let path = "\(directory)/.snapshot-input-\(UInt64.random(in: 0 ... .max))"
            opened = Glibc.open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            if opened >= 0 { unlink(path) } else if errno != EEXIST, errno != EINTR { break }
        }
        guard opened >= 0 else { throw spoolFailure(errno) }
        return SharedFile(descriptor: opened)
    }

    private func spoolFailure(_ code: Int32) -> OCIError {
        let cause = FileError("keep \(Self.name) in \(printable(directory, limit: 400))", errno: code)
        return OCIError(.ioFailure, "\(cause)", cause: cause)
    }

    private func unreadable(_ code: Int32) -> OCIError {
        OCIError(.ioFailure, "standard input cannot be read: \(describe(errno: code))")
    }
}
