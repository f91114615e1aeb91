internal import Glibc

/// Reads files below an OCI image layout directory. Blocking.
///
/// A layout may come from anywhere: nothing below it is followed out of it, nothing but regular files is read
/// (OCI image specification, "Image Layout").
struct LayoutDirectory: Sendable {
    let path: String

    /// An open blob.
    struct File: ~Copyable {
        let descriptor: Int32
        let size: Int64

        deinit { Glibc.close(descriptor) }
    }

    /// Opens a blob; `notFound` when it is missing.
    func openBlob(_ digest: Digest) throws(OCIError) -> File {
        try open(["blobs", digest.algorithm.rawValue, digest.hex], missing: .notFound)
    }

    /// Reads a whole file of at most `limit` bytes.
    func read(_ components: [String], limit: Int, missing: OCIError.Code) throws(OCIError) -> [UInt8] {
        let file = try open(components, missing: missing)
        let name = "\(shown)/\(components.joined(separator: "/"))"
        guard file.size <= Int64(limit) else {
            throw OCIError(.tooLarge, "\(name) has \(file.size) bytes; at most \(limit) are read")
        }
        var bytes = [UInt8](repeating: 0, count: Int(file.size))
        var filled = 0
        while filled < bytes.count {
            let count = bytes.withUnsafeMutableBytes { buffer in
                retryingInterrupts {
                    pread(file.descriptor, buffer.baseAddress! + filled, buffer.count - filled, off_t(filled))
                }
            }
            guard count >= 0 else { throw OCIError(.ioFailure, "\(name) cannot be read: \(describe(errno: errno))") }
            guard count > 0 else { throw OCIError(.sizeMismatch, "\(name) became shorter while it was read") }
            filled += count
        }
        return bytes
    }

    func readBlob(_ digest: Digest, limit: Int) throws(OCIError) -> [UInt8] {
        try read(["blobs", digest.algorithm.rawValue, digest.hex], limit: limit, missing: .notFound)
    }

    var shown: String { printable(path, limit: 400) }

    /// Walks down without following symbolic links; a fifo does not block, because it is opened without waiting and
    /// then refused.
    private func open(_ components: [String], missing: OCIError.Code) throws(OCIError) -> File {
        var directory = retryingInterrupts { Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        guard directory >= 0 else {
            let code = errno
            throw OCIError(
                code == ENOENT || code == ENOTDIR ? .invalidLayout : .ioFailure,
                code == ENOTDIR
                    ? "\(shown) is no directory, so it is no OCI layout (an archive is unpacked by skopeo copy oci-archive:FILE oci:DIR)"
                    : "the OCI layout \(shown) cannot be opened: \(describe(errno: code))")
        }
        for component in components.dropLast() {
            let next = retryingInterrupts {
                openat(directory, component, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
            }
            let code = errno
            Glibc.close(directory)
            guard next >= 0 else { throw failure(components, code, missing: missing) }
            directory = next
        }
        let descriptor = retryingInterrupts {
            openat(directory, components.last ?? ".", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        }
        let code = errno
        Glibc.close(directory)
        guard descriptor >= 0 else { throw failure(components, code, missing: missing) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            let code = errno
            Glibc.close(descriptor)
            throw failure(components, code, missing: missing)
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            Glibc.close(descriptor)
            throw OCIError(
                .invalidLayout, "\(shown)/\(components.joined(separator: "/")) is no regular file: it is not read")
        }
        return File(descriptor: descriptor, size: Int64(status.st_size))
    }

    private func failure(_ components: [String], _ code: Int32, missing: OCIError.Code) -> OCIError {
        let name = "\(shown)/\(components.joined(separator: "/"))"
        switch code {
        case ENOENT:
            if missing == .invalidLayout {
                return OCIError(
                    .invalidLayout, "\(shown) is no OCI layout: it has no \(components.joined(separator: "/"))")
            }
            return OCIError(missing, "the OCI layout is incomplete: \(name) is missing")
        case ELOOP, ENOTDIR:
            return OCIError(.invalidLayout, "\(name) is a symbolic link or stands below one: it is not followed")
        default:
            return OCIError(.ioFailure, "\(name) cannot be opened: \(describe(errno: code))")
        }
    }
}

/// Repeats a system call that a signal interrupted.
func retryingInterrupts<Value: SignedInteger>(_ call: () -> Value) -> Value {
    while true {
        let value = call()
        if value == -1, errno == EINTR { continue }
        return value
    }
}
