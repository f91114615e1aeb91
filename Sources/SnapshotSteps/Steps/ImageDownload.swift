import Files
import Glibc
import HelperInterface
import Sandbox

/// Brings the finished image from a sandbox elsewhere to this host, going on where an earlier attempt stopped.
///
/// The bytes come in order, so the length of the partial file is what arrived; zeros become holes. Whether they are the
/// right ones is for the catalog to find out, by their checksum.
struct ImageDownload {
    let provider: any SandboxProvider
    let sandbox: SandboxID
    /// Of the whole image, in bytes.
    let size: UInt64
    /// On this host.
    let destination: String

    /// How often in a row a connection may end without a byte.
    private static let mostFailures = 8
    /// After this without a byte a connection counts as dead.
    private static let silenceLimit = Duration.seconds(120)

    func run() async throws {
        let destination = destination
        let size = size
        let file = try await onOwnThread { () throws in
            try makeDirectories(parentDirectory(of: destination), mode: 0o700)
            return try ImageFile(destination, atMost: size)
        }
        try await receiveAll(into: file)
        try await onOwnThread { try file.finish() }
        guard file.arrived == size else {
            try await onOwnThread { try file.remove() }
            throw SnapshotError(
                .snapshotDamaged,
                "the image in the sandbox ends after \(file.arrived) bytes, and the helper wrote \(size); run again",
                retryable: true)
        }
    }

    /// Goes on after whatever passes, as long as bytes come or the connection was not lost too often in a row.
    private func receiveAll(into file: ImageFile) async throws {
        var failures = 0
        while file.arrived < size {
            let before = file.arrived
            do {
                return try await receive(into: file)
            } catch let error as SandboxError where error.isRetryable {
                failures = file.arrived > before ? 0 : failures + 1
                guard failures < Self.mostFailures else { throw error }
                try await Task.sleep(for: .seconds(min(1 << failures, 15)))
            }
        }
    }

    private func receive(into file: ImageFile) async throws {
        // tail(1) counts from 1.
        var command = StreamedCommand(["tail", "-c", "+\(file.arrived + 1)", SandboxPaths.image])
        command.silenceLimit = Self.silenceLimit
        let (exitCode, complaint) = try await provider.streamPieces(command, in: sandbox) { piece in
            try await onOwnThread { try file.append(piece) }
        }
        guard exitCode == 0 else {
            throw SnapshotError(
                .failed,
                "the image could not be read in the sandbox (exit code \(exitCode)): "
                    + complaint, retryable: true)
        }
    }
}

/// The partial file. Used by one thread after the other.
private final class ImageFile: @unchecked Sendable {
    private let file: OpenFile
    private let limit: UInt64
    private(set) var arrived: UInt64

    /// Zeros of this length become a hole.
    private static let block = 64 << 10

    init(_ path: String, atMost limit: UInt64) throws {
        file = try OpenFile(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW)
        self.limit = limit
        // The last block may have been on its way when the power went.
        let length = UInt64(clamping: try file.status().st_size) & ~4095
        arrived = length > limit ? 0 : length
        try setLength()
    }

    /// - Throws: `snapshotDamaged` when more came than there should be.
    func append(_ bytes: [UInt8]) throws {
        guard UInt64(bytes.count) <= limit - arrived else {
            try remove()
            throw SnapshotError(
                .snapshotDamaged,
                "the image in the sandbox is longer than the \(limit) bytes that the helper wrote; run again",
                retryable: true)
        }
        for start in stride(from: 0, to: bytes.count, by: Self.block) {
            let piece = bytes[start..<min(start + Self.block, bytes.count)]
            if piece.contains(where: { $0 != 0 }) {
                let (descriptor, path, offset) = (file.descriptor, file.path, Int(arrived))
                try piece.withUnsafeBytes { try OpenFile.write(descriptor, path, $0, at: offset) }
            }
            arrived += UInt64(piece.count)
        }
        // A hole at the end has arrived, too.
        try setLength()
    }

    private func setLength() throws(FileError) {
        guard ftruncate(file.descriptor, off_t(arrived)) == 0 else {
            throw FileError("set the length of \(file.path)", errno: errno)
        }
    }

    func finish() throws(FileError) {
        try file.sync()
    }

    func remove() throws(FileError) {
        guard unlink(file.path) == 0 || errno == ENOENT else {
            throw FileError("remove \(file.path)", errno: errno)
        }
    }
}
