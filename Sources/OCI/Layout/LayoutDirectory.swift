internal import Glibc

/// Reads files below an OCI image layout directory. Blocking.
///
/// A layout may come from anywhere: nothing below it is followed out of it, nothing but regular files is read
/// (OCI image specification, "Image Layout").
struct LayoutDirectory: LayoutFiles {
    let path: String

    var shown: String { printable(path, limit: 400) }

    /// Walks down without following symbolic links; a fifo does not block, because it is opened without waiting and
    /// then refused.
    func open(_ components: [String], missing: OCIError.Code) throws(OCIError) -> StoredFile {
        var directory = retryingInterrupts { Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        guard directory >= 0 else {
            let code = errno
            throw OCIError(
                code == ENOENT || code == ENOTDIR ? .invalidLayout : .ioFailure,
                code == ENOTDIR
                    ? "\(shown) is no directory, so it is no OCI layout: if it is an archive, write oci-archive:FILE or docker-archive:FILE"
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
        let file = SharedFile(descriptor: descriptor)
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw failure(components, errno, missing: missing) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw OCIError(.invalidLayout, "\(name(of: components)) is no regular file: it is not read")
        }
        return StoredFile(file, size: Int64(status.st_size))
    }

    private func failure(_ components: [String], _ code: Int32, missing: OCIError.Code) -> OCIError {
        let name = name(of: components)
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
