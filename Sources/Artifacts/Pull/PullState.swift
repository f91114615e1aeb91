import Files
import Glibc
import Synchronization

/// What is there of an image that is being downloaded: `<output>.download/`, with the image, the chunks that are whole in
/// it, and the blobs that came in part.
///
/// A chunk is noted after its bytes are durable, so the note holds after a loss of power, too. The directory is locked by
/// who downloads, and goes when the image has its name.
final class PullState: Sendable {
    let directory: String
    let image: String
    let descriptor: Int32
    private let journal: Int32
    private let finished: Mutex<Set<Int>>

    private var journalPath: String { "\(directory)/journal" }

    /// - Parameters:
    ///   - identity: of the artifact. What is there of another one is thrown away.
    ///   - size: of the image in bytes.
    init(for output: String, identity: String, size: Int) throws(FileError) {
        directory = output + ".download"
        let image = directory + "/image"
        self.image = image
        try makeDirectories(directory, mode: 0o700)
        let path = directory + "/journal"
        let journal = try Self.open(path, O_APPEND)
        self.journal = journal
        do throws(FileError) {
            descriptor = try Self.open(image, 0)
        } catch {
            close(journal)
            throw error
        }
        let descriptor = descriptor
        finished = Mutex([])
        // Everything is there now, so that a failure from here on closes what is open.
        try retryingInterrupts("write \(directory), which another download is writing") {
            flock(journal, LOCK_EX | LOCK_NB)
        }
        guard Self.isNamed(path, journal) else {
            throw FileError("write \(directory), which another download was just finishing; try again", errno: EAGAIN)
        }
        let head = "download 1 \(identity) \(size)"
        let lines = String(decoding: try readFile(path, limit: 16 << 20) ?? [], as: UTF8.self)
            .split(separator: "\n", omittingEmptySubsequences: false)
        var status = stat()
        try retryingInterrupts("look at \(image)") { fstat(descriptor, &status) }
        if lines.first.map(String.init) == head, status.st_size == size {
            // A line without an end was cut.
            let whole = lines.dropFirst().dropLast().compactMap { Int($0) }
            finished.withLock { $0 = Set(whole) }
            try append("\n")
        } else {
            try retryingInterrupts("truncate \(path)") { ftruncate(journal, 0) }
            try retryingInterrupts("truncate \(image)") { ftruncate(descriptor, 0) }
            try retryingInterrupts("size \(image) to \(size) bytes") { ftruncate(descriptor, size) }
            try append(head + "\n")
        }
    }

    deinit {
        close(descriptor)
        close(journal)
    }

    private static func open(_ path: String, _ flags: Int32) throws(FileError) -> Int32 {
        try retryingInterrupts("open \(path)") {
            Glibc.open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | flags, 0o644)
        }
    }

    private static func isNamed(_ path: String, _ descriptor: Int32) -> Bool {
        var named = stat()
        var mine = stat()
        return lstat(path, &named) == 0 && fstat(descriptor, &mine) == 0 && named.st_ino == mine.st_ino
            && named.st_dev == mine.st_dev
    }

    func isFinished(_ chunk: Chunk) -> Bool { finished.withLock { $0.contains(chunk.offset) } }

    /// Makes a chunk's bytes durable and notes that they are there. Blocks.
    func finish(_ chunk: Chunk) throws(FileError) {
        try retryingInterrupts("sync \(image)") { fdatasync(descriptor) }
        try append("\(chunk.offset)\n")
        finished.withLock { _ = $0.insert(chunk.offset) }
    }

    /// Takes away what an earlier try left in a chunk's place, so that zeros need not be written.
    func clear(_ chunk: Chunk) throws(FileError) {
        var ranges = DataRanges(of: descriptor, path: image, from: chunk.offset, size: chunk.range.upperBound)
        var zeros: UnsafeMutableRawBufferPointer?
        defer { zeros?.deallocate() }
        // What was right is written again at once, so nothing is lost by filling and not punching.
        while let range = try ranges.next() {
            let space = zeros ?? .allocate(byteCount: 1 << 20, alignment: 4096)
            if zeros == nil { space.initializeMemory(as: UInt8.self, repeating: 0) }
            zeros = space
            for start in stride(from: range.lowerBound, to: range.upperBound, by: space.count) {
                let count = min(space.count, range.upperBound - start)
                try OpenFile.write(descriptor, image, UnsafeRawBufferPointer(rebasing: space[..<count]), at: start)
            }
        }
    }

    private func append(_ line: String) throws(FileError) {
        let bytes = Array(line.utf8)
        try retryingInterrupts("write \(journalPath)") { write(journal, bytes, bytes.count) }
    }
}
