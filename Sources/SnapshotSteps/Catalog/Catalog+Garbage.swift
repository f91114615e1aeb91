import Files
import Glibc

extension Catalog {
    /// A directory of the store that no row speaks of.
    package struct UnregisteredDirectory: Sendable {
        package enum Kind: Sendable, Equatable {
            /// A registration that a run began.
            case incoming(run: String)
            /// Pieces of an artifact that a pull gathers.
            case pull
            /// A snapshot with its document: whole, as far as its size tells. The run made it, or `nil` for a pulled one.
            case whole(run: String?)
            /// What a removal did not finish.
            case removed
            case other
        }

        package let path: String
        package let kind: Kind
        /// Milliseconds since 1970: of the directory or of what is in it, whatever changed last.
        package let modifiedAt: Int64

        /// The run that was registering, when the name tells.
        package var runID: String? {
            if case .incoming(let run) = kind { run } else { nil }
        }
    }

    /// Directories of the store without a row: what a registration that died left behind, and whole snapshots that the
    /// database does not know.
    package func unregistered() async throws -> [UnregisteredDirectory] {
        try await onOwnThread { try unregisteredBlocking(known: Set(try database.snapshots().map(\.id))) }
    }

    func unregisteredBlocking(known: Set<String>) throws -> [UnregisteredDirectory] {
        try layout.unregistered(known: known)
    }

    /// Removes a directory that ``unregistered()`` named, unless it was registered meanwhile, or somebody works in it.
    ///
    /// - Returns: whether it is gone.
    @discardableResult
    package func remove(_ directory: UnregisteredDirectory) async throws -> Bool {
        try await onOwnThread {
            try exclusively {
                let known = Set(try database.snapshots().map(\.id))
                let now = try unregisteredBlocking(known: known).first { $0.path == directory.path }
                guard let now else { return !fileExists(directory.path) }
                guard now.kind == directory.kind else { return false }
                var lock: LockedFile?
                defer { lock?.close() }
                if now.kind == .pull {
                    lock = try LockedFile.take(now.path + "/" + IncomingPlace.lockName, .exclusive)
                    if lock == nil { return false }
                    try layout.removeFromSight(now.path)
                } else {
                    try removeTree(now.path)
                }
                return true
            }
        }
    }

    /// Whether a process gathers pieces in this directory just now.
    package func isGathering(_ directory: UnregisteredDirectory) async throws -> Bool {
        try await onOwnThread {
            let path = directory.path + "/" + IncomingPlace.lockName
            guard directory.kind == .pull, isRegularFile(path) else { return false }
            guard let lock = try LockedFile.take(path, .exclusive) else { return true }
            lock.close()
            return false
        }
    }
}

extension CatalogLayout {
    func unregistered(known: Set<String>) throws -> [Catalog.UnregisteredDirectory] {
        try directoryNames(root).filter { !known.contains($0) }.map { name in
            let path = root + "/" + name
            return Catalog.UnregisteredDirectory(path: path, kind: try kind(of: name), modifiedAt: try lastChange(path))
        }
    }

    private func kind(of name: String) throws -> Catalog.UnregisteredDirectory.Kind {
        if name.hasPrefix(Self.pullPrefix) { return .pull }
        if name.hasPrefix(Self.incomingPrefix) {
            return .incoming(run: String(name.dropFirst(Self.incomingPrefix.count)))
        }
        if name.hasPrefix(Self.removedPrefix) { return .removed }
        return try document(inWhole: name).map { .whole(run: $0.snapshot.runID) } ?? .other
    }

    /// The document of a directory that holds a snapshot which is whole as far as its size tells.
    func document(inWhole name: String) throws -> SnapshotDocument? {
        let path = image(of: name)
        guard isRegularFile(path), let document = try SnapshotDocument.read(in: directory(of: name)),
            document.id == name, Self.isKey(document.key), name == "snap-" + document.key.prefix(16)
        else { return nil }
        var status = stat()
        guard lstat(path, &status) == 0, UInt64(clamping: status.st_size) == document.size else { return nil }
        return document
    }

    private func lastChange(_ path: String) throws -> Int64 {
        let now = millisecondsNow()
        guard isDirectory(path) else { return changeTime(path) ?? now }
        let inside = try directoryNames(path).compactMap { changeTime(path + "/" + $0) }
        return ([changeTime(path) ?? now] + inside).max() ?? now
    }

    private func isDirectory(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    private func changeTime(_ path: String) -> Int64? {
        var status = stat()
        return lstat(path, &status) == 0 ? Int64(status.st_mtim.tv_sec) * 1000 : nil
    }
}
