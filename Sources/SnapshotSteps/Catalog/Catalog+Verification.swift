import Files
import Glibc
import HelperInterface

extension Catalog {
    /// Compares a snapshot's file with its row: kind, size, SHA-256 of all of it, and the document beside it. The snapshot
    /// is in use meanwhile.
    ///
    /// - Returns: what is wrong, in words; empty when it is whole.
    package func verify(_ snapshot: Snapshot) async throws -> [String] {
        let use: SnapshotUse
        do {
            use = try await self.use(snapshot, for: "verify")
        } catch let error as SnapshotError where error.code == .snapshotNotFound {
            return await onOwnThread { [layout.fileProblem(of: snapshot.id, size: snapshot.size) ?? error.message] }
        }
        defer { use.end() }
        let now = use.snapshot
        return try await onOwnThread {
            var problems: [String] = []
            let actual = try HelperInterface.sha256(of: OpenFile(now.path, O_RDONLY | O_NOFOLLOW))
            if actual.hex != now.sha256 {
                problems.append("its SHA-256 is \(actual.hex) and should be \(now.sha256)")
            }
            let document = try SnapshotDocument.read(in: layout.directory(of: now.id))
            if document == nil {
                problems.append("its document \(SnapshotDocument.name) is missing or cannot be read")
            } else if document?.key != now.key || document?.sha256 != now.sha256 || document?.size != now.size {
                problems.append("its document \(SnapshotDocument.name) is about another file")
            }
            return problems
        }
    }

    /// Bytes that the file takes on disk, holes not counted; `nil` when it is not there.
    package func bytesOnDisk(of snapshot: Snapshot) -> UInt64? {
        var status = stat()
        guard lstat(snapshot.path, &status) == 0 else { return nil }
        return UInt64(clamping: status.st_blocks) &* 512
    }

    /// What does not fit together in a state directory: rows without their file, whole snapshots without a row. Reads no
    /// content, changes and makes nothing.
    ///
    /// - Throws: `catalog` when the database cannot be read.
    package static func audit(in state: StateDirectory) async throws -> CatalogAudit {
        let (path, layout) = (state.catalogDatabase, CatalogLayout(root: state.snapshots))
        return try await onOwnThread {
            let rows = fileExists(path) ? try CatalogDatabase.sizes(path: path) : [:]
            var audit = CatalogAudit(snapshots: rows.count)
            for (id, size) in rows.sorted(by: { $0.key < $1.key }) {
                if let problem = layout.fileProblem(of: id, size: size) {
                    audit.broken.append(.init(id: id, problem: problem))
                }
            }
            for directory in try layout.unregistered(known: Set(rows.keys)) {
                if case .whole = directory.kind, let name = directory.path.split(separator: "/").last {
                    audit.unknown.append(String(name))
                }
            }
            return audit
        }
    }

    /// Takes a whole snapshot that stands in the store into the catalog again: the database was lost, or copied without
    /// it. Its file is read and hashed; names and labels are lost.
    ///
    /// - Parameter id: the name of its directory.
    /// - Throws: `snapshotNotFound` when there is no whole snapshot of that name, `snapshotDamaged` when its bytes are not
    ///   those that its document tells.
    package func takeBack(_ id: String) async throws -> Snapshot {
        try await onOwnThread {
            if let known = try database.snapshot(id: id) { return located(known) }
            let found = try id.hasPrefix("snap-") ? layout.document(inWhole: id) : nil
            guard let document = found else {
                throw SnapshotError(
                    .snapshotNotFound,
                    """
                    there is no whole snapshot "\(printable(id.prefix(120)))" in \(layout.root); see which ones are not in the \
                    catalog: snapwf snapshots verify --all
                    """)
            }
            let snapshot = located(document.snapshot)
            let actual = try HelperInterface.sha256(of: OpenFile(snapshot.path, O_RDONLY | O_NOFOLLOW)).hex
            guard actual == snapshot.sha256 else {
                throw SnapshotError(
                    .snapshotDamaged,
                    "\(snapshot.path) has the SHA-256 \(actual), and its document says \(snapshot.sha256): it is damaged"
                )
            }
            return try exclusively {
                guard hasFile(snapshot) else { throw Self.vanished(snapshot.path) }
                if let known = try database.snapshot(key: snapshot.key) { return located(known) }
                try database.insert(snapshot)
                return snapshot
            }
        }
    }
}

/// What does not fit together in a store.
package struct CatalogAudit: Sendable {
    package struct Broken: Sendable {
        package let id: String
        package let problem: String

        package init(id: String, problem: String) {
            self.id = id
            self.problem = problem
        }
    }

    /// How many rows there are.
    package let snapshots: Int
    /// Rows whose file is not what it should be.
    package var broken: [Broken] = []
    /// Whole snapshots that the database does not know: the names of their directories.
    package var unknown: [String] = []

    package init(snapshots: Int) { self.snapshots = snapshots }
}

extension CatalogLayout {
    /// What is wrong with the file of a snapshot as far as can be seen from outside.
    func fileProblem(of id: String, size: UInt64) -> String? {
        let path = image(of: id)
        var status = stat()
        guard lstat(path, &status) == 0 else {
            let reason = String(cString: strerror(errno))
            return fileExists(root) && !fileExists(directory(of: id))
                ? "its directory \(directory(of: id)) is missing" : "its file \(path) is missing: \(reason)"
        }
        guard status.st_mode & S_IFMT == S_IFREG else { return "\(path) is no regular file" }
        guard UInt64(clamping: status.st_size) == size else {
            return "\(path) has \(status.st_size) bytes and should have \(size)"
        }
        return nil
    }
}
