/// The files of an OCI image layout, wherever they lie: below a directory, or in an archive. Blocking.
protocol LayoutFiles: Sendable {
    /// The place, for messages.
    var shown: String { get }

    /// Opens a file by the components of its path; `missing` when there is none.
    func open(_ path: [String], missing: OCIError.Code) throws(OCIError) -> StoredFile
}

extension LayoutFiles {
    /// Opens a blob; `notFound` when it is missing.
    func openBlob(_ digest: Digest) throws(OCIError) -> StoredFile {
        try open(Self.path(of: digest), missing: .notFound)
    }

    /// Reads a whole file of at most `limit` bytes.
    func read(_ path: [String], limit: Int, missing: OCIError.Code) throws(OCIError) -> [UInt8] {
        try open(path, missing: missing).readAll(limit: limit, name: name(of: path))
    }

    func readBlob(_ digest: Digest, limit: Int) throws(OCIError) -> [UInt8] {
        try read(Self.path(of: digest), limit: limit, missing: .notFound)
    }

    func name(of path: [String]) -> String { "\(shown)/\(path.joined(separator: "/"))" }

    /// Where a blob stands (OCI image specification, "Image Layout").
    private static func path(of digest: Digest) -> [String] { ["blobs", digest.algorithm.rawValue, digest.hex] }
}
