import Files
import FoundationEssentials
import Glibc
import OCI
import Synchronization

/// What a push that was killed knew: chunks that are compressed already, and where uploads stand.
///
/// A file of lines, each written in one go; a line cut short by a death is as good as missing. Nothing is synced: after a
/// loss of power some of it is found out once more. Locations of uploads may hold secrets, so only its owner reads the
/// file, and it goes when the push is done.
final class PushState: Sendable {
    /// What the lines are about. The file to push, and where to.
    struct Identity: Codable, Equatable {
        var format = 1
        let target: String
        let device: UInt64
        let inode: UInt64
        let size: Int64
        let modified: [Int64]
        let sha256: String

        init(file: stat, target: String, sha256: String) {
            self.target = target
            self.sha256 = sha256
            device = UInt64(file.st_dev)
            inode = UInt64(file.st_ino)
            size = Int64(file.st_size)
            modified = [Int64(file.st_mtim.tv_sec), Int64(file.st_mtim.tv_nsec)]
        }
    }

    private struct Line: Codable {
        var identity: Identity?
        var packed: Int?
        var blob: Digest?
        var blobSize: Int64?
        var content: Digest?
        var upload: Digest?
        /// Without one, the upload is over.
        var location: String?
        var isProven: Bool?
    }

    private struct Known {
        var packed: [Int: Line] = [:]
        var locations: [Digest: String] = [:]
        var isProven = false
        var isReleased = false
    }

    private static let largest = 64 << 20
    private let path: String
    private let descriptor: Int32
    private let known: Mutex<Known>

    /// Opens what there is, or begins.
    ///
    /// - Throws: also where another push of this file to this place is under way.
    init(path: String, identity: Identity) throws(FileError) {
        self.path = path
        let descriptor = try retryingInterrupts("open \(path)") {
            open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_APPEND, 0o600)
        }
        self.descriptor = descriptor
        known = Mutex(Known())
        try retryingInterrupts("write \(path), which another push is writing") { flock(descriptor, LOCK_EX | LOCK_NB) }
        try retryingInterrupts("protect \(path)") { fchmod(descriptor, 0o600) }
        let lines = Self.lines(try readFile(path, limit: Self.largest) ?? [])
        if lines.first?.identity == identity {
            known.withLock { known in for line in lines.dropFirst() { Self.learn(line, &known) } }
            // What follows must not join a line that was cut.
            try write([UInt8(ascii: "\n")])
        } else {
            try retryingInterrupts("truncate \(path)") { ftruncate(descriptor, 0) }
            add(Line(identity: identity))
        }
    }

    deinit { close(descriptor) }

    private static func lines(_ bytes: [UInt8]) -> [Line] {
        bytes.split(separator: UInt8(ascii: "\n")).compactMap { try? JSONDecoder().decode(Line.self, from: Data($0)) }
    }

    private static func learn(_ line: Line, _ known: inout Known) {
        if let index = line.packed { known.packed[index] = line }
        if let blob = line.upload { known.locations[blob] = line.location }
        if line.isProven == true { known.isProven = true }
    }

    /// Whether the whole file was found to have its checksum.
    var isProven: Bool { known.withLock { $0.isProven } }

    func prove() { add(Line(isProven: true)) }

    /// What a stretch of the file became; nil when it is not known. A chunk in it is nil when it is all zeros.
    func packed(_ index: Int, range: Range<Int>) -> Chunk?? {
        known.withLock { known in
            guard let line = known.packed[index] else { return nil }
            guard let blob = line.blob, let size = line.blobSize, let content = line.content else { return .some(nil) }
            return Chunk(
                offset: range.lowerBound, size: range.count, content: content, blob: blob, blobSize: size)
        }
    }

    func add(packed index: Int, _ chunk: Chunk?) {
        add(Line(packed: index, blob: chunk?.blob, blobSize: chunk?.blobSize, content: chunk?.content))
    }

    func location(of blob: Digest) -> String? { known.withLock { $0.locations[blob] } }

    func set(location: String?, of blob: Digest) { add(Line(upload: blob, location: location)) }

    /// The push is done.
    func remove() {
        unlink(path)
        release()
    }

    /// Lets the next push go on from here, also while a thread of this one still works.
    func release() {
        known.withLock { known in
            known.isReleased = true
            _ = flock(descriptor, LOCK_UN)
        }
    }

    /// A help and no need: where it cannot be written, only a death costs more.
    private func add(_ line: Line) {
        known.withLock { known in
            Self.learn(line, &known)
            guard !known.isReleased, let data = try? JSONEncoder().encode(line) else { return }
            try? write(Array(data) + [UInt8(ascii: "\n")])
        }
    }

    private func write(_ bytes: [UInt8]) throws(FileError) {
        try retryingInterrupts("write \(path)") { Glibc.write(descriptor, bytes, bytes.count) }
    }
}
