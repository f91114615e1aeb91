import CFaultVFS
import Foundation

extension FaultyDisk {
    /// Cuts the power, if it is still there, and makes what a machine that starts again could find.
    ///
    /// Of each file that is everything up to its last sync and, chosen by `seed`, nothing, all, a beginning or any part
    /// of what was written to it afterwards, torn at sectors of 512 bytes. What is in shared memory is gone.
    ///
    /// The same moment can be looked at with many seeds. An engine that still has the attached directory open may go on
    /// with it: it is the past, and reaches the result no more.
    ///
    /// - Returns: a new directory with the files under their names, for the caller to remove.
    public func cutPower(seed: UInt64) throws -> TemporaryStore {
        cutPower()
        let survivor = try TemporaryStore(inMemory: directory.hasPrefix("/dev/shm/"))
        var random = SeededGenerator(seed: seed)
        var known: Set<String> = []
        // In the order of their names, so that a seed always means the same.
        for file in histories().sorted(by: { $0.name < $1.name }) {
            known.insert(file.name)
            let content = file.survivor(&random)
            // An empty file and a missing one are the same to SQLite.
            if !content.isEmpty { try write(Data(content), to: survivor.directory + "/" + file.name) }
        }
        for name in earlierFiles.subtracting(known) where !name.hasSuffix("-shm") {
            var isDirectory: ObjCBool = false
            let path = directory + "/" + name
            guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory), !isDirectory.boolValue
            else { continue }
            try write(try Data(contentsOf: URL(fileURLWithPath: path)), to: survivor.directory + "/" + name)
        }
        return survivor
    }

    private func write(_ content: Data, to path: String) throws {
        let url = URL(fileURLWithPath: path)
        try FileManager.default.createDirectory(
            at: url.deletingLastPathComponent(), withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o700])
        try content.write(to: url)
    }

    private func histories() -> [FileHistory] {
        (0..<cfault_file_count(disk)).map { index in
            let file = cfault_file_at(disk, index)
            return FileHistory(
                name: String(cString: file.name), durable: bytes(file.bytes, file.size),
                changes: (0..<file.change_count).map { change(cfault_change_at(disk, index, $0)) })
        }
    }

    private func change(_ change: cfault_change) -> FileHistory.Change {
        switch change.kind {
        case CFAULT_CHANGE_WRITE: .write(offset: Int(change.offset), bytes: bytes(change.bytes, change.size))
        case CFAULT_CHANGE_TRUNCATE: .truncate(size: Int(change.offset))
        default: .delete
        }
    }

    private func bytes(_ start: UnsafePointer<UInt8>?, _ count: Int64) -> [UInt8] {
        Array(UnsafeBufferPointer(start: start, count: start == nil ? 0 : Int(count)))
    }
}
