import Crypto
package import Files
import Glibc
import Synchronization
import Threads

/// The hash tree of dm-verity in the file that it protects. Blocks; memory does not grow with the file.
package struct VerityTree: Sendable {
    /// What a look at a tree found.
    package struct Finding: Sendable, Equatable {
        /// Of the tree's own top: 64 hexadecimal digits.
        package let root: String
        /// The first block of the file whose hash differs from the one in the tree above it; nil where all are right.
        package let firstBadBlock: UInt64?
    }

    private let superblock: VeritySuperblock
    private let threads: Int

    package init(_ superblock: VeritySuperblock) {
        self.superblock = superblock
        threads = max(1, min(sysconf(Int32(_SC_NPROCESSORS_ONLN)), 8))
    }

    /// Writes superblock and tree behind the data; returns the root hash in hexadecimal. Nothing is synced.
    package func write(to file: borrowing OpenFile) throws(FileError) -> String {
        let descriptor = file.descriptor
        try retryingInterrupts("size \(file.path)") { ftruncate(descriptor, off_t(superblock.end)) }
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(VeritySuperblock.blockSize), alignment: 16)
        defer { block.deallocate() }
        block.initializeMemory(as: UInt8.self, repeating: 0)
        block.copyBytes(from: superblock.bytes)
        try file.write(UnsafeRawBufferPointer(block), at: Int(superblock.offset))
        for level in superblock.levels {
            _ = try work(on: level, of: file, Writing(descriptor: descriptor, path: file.path))
        }
        return try root(of: file)
    }

    /// Reads all data and the whole tree, and compares.
    package func verify(_ file: borrowing OpenFile) throws(FileError) -> Finding {
        for level in superblock.levels {
            if let bad = try work(on: level, of: file, Comparing(descriptor: file.descriptor, path: file.path)) {
                return Finding(root: try root(of: file), firstBadBlock: bad)
            }
        }
        return Finding(root: try root(of: file), firstBadBlock: nil)
    }

    /// The hash of the topmost block.
    package func root(of file: borrowing OpenFile) throws(FileError) -> String {
        let top = superblock.levels.last?.hashes.lowerBound ?? 0
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(VeritySuperblock.blockSize), alignment: 16)
        defer { block.deallocate() }
        block.initializeMemory(as: UInt8.self, repeating: 0)
        _ = try file.read(into: block, at: Int(top))
        return hexadecimal(BlockHash(salt: superblock.salt).hash(UnsafeRawBufferPointer(block)))
    }

    // MARK: - Threads

    /// What becomes of hashes: they are written, or compared with what stands there.
    private protocol Use: Sendable {
        /// The position of the first hash of `hashes` that is wrong.
        func take(_ hashes: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(FileError) -> Int?
    }

    private struct Writing: Use {
        let descriptor: Int32
        let path: String

        func take(_ hashes: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(FileError) -> Int? {
            try OpenFile.write(descriptor, path, UnsafeRawBufferPointer(hashes), at: Int(offset))
            return nil
        }
    }

    private struct Comparing: Use {
        let descriptor: Int32
        let path: String

        func take(_ hashes: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(FileError) -> Int? {
            let found = UnsafeMutableRawBufferPointer.allocate(byteCount: hashes.count, alignment: 16)
            defer { found.deallocate() }
            found.initializeMemory(as: UInt8.self, repeating: 0)
            _ = try OpenFile.read(descriptor, path, into: found, at: Int(offset))
            return zip(hashes, found).enumerated().first { $1.0 != $1.1 }.map { $0.offset / BlockHash.size }
        }
    }

    private struct Progress: Sendable {
        /// The next hash block of the level that nobody works on.
        var next: UInt64 = 0
        var firstBadBlock: UInt64?
        var failure: FileError?
    }

    /// So many blocks of hashes are made at a time: 4 MiB of what they hash.
    private static let hashBlocksPerTurn: UInt64 = 8

    private func work(
        on level: VeritySuperblock.Level, of file: borrowing OpenFile, _ use: some Use
    ) throws(FileError) -> UInt64? {
        let progress = Shared(Progress())
        let (descriptor, path, salt) = (file.descriptor, file.path, superblock.salt)
        let body: @Sendable () -> Void = {
            let worker = LevelWorker(level: level, descriptor: descriptor, path: path, salt: salt)
            while let turn = Self.nextTurn(of: level, progress) {
                do throws(FileError) {
                    let hashes = try worker.hash(turn)
                    if let bad = try use.take(hashes, at: level.hashes.lowerBound + turn.lowerBound * 4096) {
                        let block = level.input.lowerBound / 4096 + turn.lowerBound * 128 + UInt64(bad)
                        progress.value.withLock { $0.firstBadBlock = min($0.firstBadBlock ?? block, block) }
                    }
                } catch {
                    progress.value.withLock { $0.failure = error }
                    return
                }
            }
        }
        let others = (1..<threads).compactMap { _ in Thread(body) }
        body()
        for thread in others { thread.join() }
        let end = progress.value.withLock { $0 }
        if let failure = end.failure { throw failure }
        return end.firstBadBlock
    }

    private final class Shared: Sendable {
        let value: Mutex<Progress>
        init(_ progress: Progress) { value = Mutex(progress) }
    }

    /// Nil when all is given out, or nothing more is wanted.
    private static func nextTurn(of level: VeritySuperblock.Level, _ progress: Shared) -> Range<UInt64>? {
        let count = (level.hashes.upperBound - level.hashes.lowerBound) / VeritySuperblock.blockSize
        return progress.value.withLock { state in
            guard state.next < count, state.failure == nil, state.firstBadBlock == nil else { return nil }
            let turn = state.next..<min(state.next + hashBlocksPerTurn, count)
            state.next = turn.upperBound
            return turn
        }
    }
}

/// Salted SHA-256 of blocks.
private struct BlockHash {
    static let size = 32
    private let salted: SHA256

    init(salt: [UInt8]) {
        var hash = SHA256()
        hash.update(data: salt)
        salted = hash
    }

    func hash(_ block: UnsafeRawBufferPointer) -> SHA256.Digest {
        var hash = salted
        hash.update(bufferPointer: block)
        return hash.finalize()
    }
}

/// One thread's part of a level.
private final class LevelWorker {
    private let level: VeritySuperblock.Level
    private let descriptor: Int32
    private let path: String
    private let hash: BlockHash
    /// What a block of zeros hashes to, of which sparse images are full.
    private let zeroHash: [UInt8]
    private let input: UnsafeMutableRawBufferPointer
    private let output: UnsafeMutableRawBufferPointer

    private static let blockSize = Int(VeritySuperblock.blockSize)
    /// What one block of hashes covers.
    private static let span = blockSize * Int(VeritySuperblock.hashesPerBlock)

    init(level: VeritySuperblock.Level, descriptor: Int32, path: String, salt: [UInt8]) {
        self.level = level
        self.descriptor = descriptor
        self.path = path
        hash = BlockHash(salt: salt)
        let zeros = [UInt8](repeating: 0, count: Self.blockSize)
        let hash = hash
        zeroHash = zeros.withUnsafeBytes { Array(hash.hash($0)) }
        input = .allocate(byteCount: Self.span, alignment: 4096)
        output = .allocate(byteCount: 8 * Self.blockSize, alignment: 4096)
    }

    deinit {
        input.deallocate()
        output.deallocate()
    }

    /// The blocks of hashes with these numbers in the level; at most eight. Valid until the next call.
    func hash(_ turn: Range<UInt64>) throws(FileError) -> UnsafeMutableRawBufferPointer {
        let result = UnsafeMutableRawBufferPointer(rebasing: output[..<(turn.count * Self.blockSize)])
        result.initializeMemory(as: UInt8.self, repeating: 0)
        for (index, number) in turn.enumerated() {
            let start = level.input.lowerBound + number * UInt64(Self.span)
            let count = Int(min(UInt64(Self.span), level.input.upperBound - start))
            try hash(
                at: start, count: count,
                into: UnsafeMutableRawBufferPointer(
                    rebasing: result[(index * Self.blockSize)..<((index + 1) * Self.blockSize)]))
        }
        return result
    }

    private func hash(at start: UInt64, count: Int, into hashes: UnsafeMutableRawBufferPointer) throws(FileError) {
        let blocks = count / Self.blockSize
        // SEEK_DATA of lseek(2): nothing but a hole here? Where the file system cannot tell, it is data.
        let next = lseek(descriptor, off_t(start), 3)
        if next < 0 ? errno == ENXIO : UInt64(next) >= start + UInt64(count) {
            for block in 0..<blocks { put(zeroHash, block, hashes) }
            return
        }
        let filled = try OpenFile.read(
            descriptor, path, into: UnsafeMutableRawBufferPointer(rebasing: input[..<count]), at: Int(start))
        guard filled == count else { throw FileError("read \(path), which ends within its data", errno: EIO) }
        for block in 0..<blocks {
            let bytes = UnsafeRawBufferPointer(
                rebasing: input[(block * Self.blockSize)..<((block + 1) * Self.blockSize)])
            if isZero(bytes) {
                put(zeroHash, block, hashes)
            } else {
                hash.hash(bytes).withUnsafeBytes { put($0, block, hashes) }
            }
        }
    }

    private func put(_ digest: some Collection<UInt8>, _ block: Int, _ hashes: UnsafeMutableRawBufferPointer) {
        UnsafeMutableRawBufferPointer(
            rebasing: hashes[(block * BlockHash.size)..<((block + 1) * BlockHash.size)]
        ).copyBytes(from: digest)
    }

    private func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard let base = bytes.baseAddress else { return true }
        // The first word, and then each byte against the one a word before.
        return base.loadUnaligned(as: UInt64.self) == 0 && memcmp(base, base + 8, bytes.count - 8) == 0
    }
}
