import Files

extension Catalog {
    /// Puts a copy of a snapshot where the user wants it: `path.partial`, then `path`.
    package func export(_ snapshot: Snapshot, to path: String) async throws {
        let use = try await use(snapshot, for: "export")
        defer { use.end() }
        let source = use.snapshot.path
        try await onOwnThread {
            do {
                try copySparseFile(source, to: path)
            } catch let error as FileError {
                throw SnapshotError(
                    error.isOutOfSpace ? .diskFull : .failed, "the snapshot could not be exported: \(error)")
            }
        }
    }
}
