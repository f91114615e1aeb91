internal import Glibc

/// A tar archive with its index. Blobs are read where they stand; nothing is unpacked.
struct ArchiveFile: LayoutFiles {
    let shown: String
    let index: TarIndex
    private let archive: StoredFile

    init(_ archive: StoredFile, shown: String) throws(OCIError) {
        let head = try archive.bytes(0..<Int(min(archive.size, Int64(TarHeader.size))), name: shown)
        try TarIndex.check(firstBytes: head, name: shown)
        self.shown = shown
        self.archive = archive
        index = try TarIndex(archive, name: shown)
    }

    /// Opens an archive by its path.
    static func open(_ path: String) throws(OCIError) -> ArchiveFile {
        let shown = printable(path, limit: 400)
        let descriptor = retryingInterrupts { Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
        guard descriptor >= 0 else {
            let code = errno
            let hint = path == "-" ? " (an archive on standard input is written as - alone)" : ""
            throw OCIError(
                code == ENOENT || code == ENOTDIR ? .notFound : .ioFailure,
                "the archive \(shown) cannot be opened: \(describe(errno: code))\(hint)")
        }
        let file = SharedFile(descriptor: descriptor)
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw OCIError(.ioFailure, "the archive \(shown) cannot be looked at: \(describe(errno: errno))")
        }
        switch status.st_mode & S_IFMT {
        case S_IFREG: break
        case S_IFDIR:
            throw OCIError(.notFound, "\(shown) is a directory, no archive: if it is an OCI layout, write oci:DIR")
        default:
            throw OCIError(
                .ioFailure, "\(shown) is no regular file: pipe it in, with - in place of the image's name")
        }
        return try ArchiveFile(StoredFile(file, size: Int64(status.st_size)), shown: shown)
    }

    /// By the path that other files of the archive name.
    func open(named path: String) throws(OCIError) -> StoredFile {
        guard let path = TarIndex.normalised(path) else {
            throw OCIError(.invalidArchive, "\(shown) names \(excerpt(path)), which leads out of it: not followed")
        }
        return try open([path], missing: .invalidArchive)
    }

    func open(_ path: [String], missing: OCIError.Code) throws(OCIError) -> StoredFile {
        let path = path.joined(separator: "/")
        switch index.entry(at: path) {
        case .file(let offset, let size):
            return StoredFile(archive.file, offset: archive.offset + offset, size: size)
        case .other(let why):
            throw OCIError(.invalidArchive, "\(shown): \(printable(path)) \(why): it is not read")
        case .link, nil:
            throw OCIError(missing, "the archive \(shown) is incomplete: it has no \(printable(path))")
        }
    }
}
