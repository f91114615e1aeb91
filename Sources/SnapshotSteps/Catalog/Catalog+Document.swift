import Files
package import HelperInterface

extension Catalog {
    /// What was said of a snapshot's image when it was made: more than its row holds.
    ///
    /// - Throws: `snapshotDamaged` where the document beside the image is missing or about another file.
    package func result(of snapshot: Snapshot) async throws -> PullResult {
        let document = try await onOwnThread { [layout] in
            try SnapshotDocument.read(in: layout.directory(of: snapshot.id))
        }
        guard let document, document.sha256 == snapshot.sha256, document.key == snapshot.key else {
            throw SnapshotError(
                .snapshotDamaged,
                """
                the document \(SnapshotDocument.name) beside \(snapshot.path) is missing or about another file; look at \
                it: snapwf snapshots verify \(snapshot.id)
                """)
        }
        return document.result
    }

    /// The snapshot of these facts when its file is here, as far as its size tells. Its use is noted.
    package func holding(_ result: PullResult) async throws -> Snapshot? {
        try await onOwnThread {
            guard let known = try database.snapshot(key: result.key).map(located), known.sha256 == result.sha256,
                hasFile(known)
            else { return nil }
            try database.touch(key: known.key, at: millisecondsNow())
            return known
        }
    }
}
