import Files
import Glibc
import HelperInterface
import Synchronization
import Threads

/// The file that a pull writes, with its sidecar.
struct OutputFile: ~Copyable {
    private let path: String
    private let partial: PartialFile

    var descriptor: Int32 { partial.file.descriptor }

    init(path: String) throws {
        partial = try PartialFile(for: path)
        self.path = path
    }

    /// Appends a dm-verity hash tree to a file system of so many blocks, and cuts off what the file has past its end.
    func appendVerity(key: SnapshotKey, dataBlocks: UInt64) throws(FileError) -> VerityResult {
        let superblock = VeritySuperblock(uuid: key.verityUUID, salt: key.veritySalt, dataBlocks: dataBlocks)
        return VerityResult(superblock, rootHash: try VerityTree(superblock).write(to: partial.file))
    }

    /// Empties the file for another conversion.
    func reset() throws(FileError) {
        let descriptor = descriptor
        try retryingInterrupts("truncate \(partial.file.path)") { ftruncate(descriptor, 0) }
    }

    /// SHA-256 of the whole file in hexadecimal, holes as zeros, and its size. The disk takes the file meanwhile: both
    /// only read it, and neither needs what the other does.
    ///
    /// It comes last, because at the beginning of the file stands the superblock, which counts all that follows. To begin
    /// writing to the disk earlier gained nothing when it was measured.
    func checksumAndSync() throws -> (hex: String, size: UInt64) {
        let descriptor = descriptor
        let path = partial.file.path
        let failure = Failure()
        let sync = Thread {
            do throws(FileError) {
                try retryingInterrupts("sync \(path)") { fsync(descriptor) }
            } catch {
                failure.value.withLock { $0 = error }
            }
        }
        defer { sync?.join() }
        let result = try sha256(of: partial.file)
        if let sync {
            sync.join()
            if let error = failure.value.withLock({ $0 }) { throw error }
        } else {
            try partial.file.sync()
        }
        return result
    }

    private final class Failure: Sendable {
        let value = Mutex<FileError?>(nil)
    }

    /// Makes the image visible, whose bytes are durable: the sidecar `<path>.json` first, the image last.
    func publish(sidecar: [UInt8]) throws {
        try replaceFile(path + ".json", sidecar, mode: 0o644)
        try partial.publish()
    }

    /// Removes what a failed pull wrote.
    func discard() {
        partial.discard()
    }
}
