import Connect
import Files
import Foundation
import Glibc
import SandboxAPI

extension DepotProvider {
    /// Bytes a message of an upload; the API takes less than 4 MiB.
    private static let uploadChunk = 2 << 20

    /// The API's own writes are not atomic: the bytes go aside and are renamed.
    ///
    /// Killed in between, a file `PATH.*.part` stays in the sandbox until it ends.
    package func writeFile(
        _ path: String, mode: UInt16, contents: FileContents, in id: SandboxID
    ) async throws {
        guard path.hasPrefix("/"), !path.hasSuffix("/"), !path.utf8.contains(0), mode <= 0o7777 else {
            throw SandboxError(.invalidArgument, "\(path) is not an absolute path of a file, or its mode is not one")
        }
        let source = try await UploadSource(contents)
        let aside = "\(path).\(randomName(8)).part"
        do {
            try await inSandbox(id, "write \(path)", .writing) {
                try await upload(source, to: aside, mode: mode, in: id)
            }
            try await inSandbox(id, "write \(path)", .writing) {
                try await chmod(aside, mode, in: id)
                try await rename(aside, path, in: id)
            }
        } catch {
            await remove(aside, after: error, in: id)
            throw error
        }
    }

    private func upload(_ source: UploadSource, to path: String, mode: UInt16, in id: SandboxID) async throws {
        var start = WriteFileRequest()
        start.init_p.sandbox = DepotMessages.sandbox(id)
        start.init_p.path = path
        start.init_p.mode = UInt32(mode)
        start.init_p.createDirectories = true
        start.init_p.sudo = true
        let first = start
        // Room for slow lines: 256 KiB a second.
        let deadline = configuration.answerPatience + .seconds(Int64(source.size / (256 << 10)))
        let answer = try await client.clientStream(SandboxMethods.writeFile, deadline: deadline) { sink in
            try await sink.send(first)
            var offset = 0
            while offset < source.size {
                let chunk = try await source.bytes(at: offset, count: min(Self.uploadChunk, source.size - offset))
                var message = WriteFileRequest()
                message.data = Data(chunk)
                try await sink.send(message)
                offset += chunk.count
            }
        }
        guard answer.bytesWritten == source.size else {
            throw SandboxError(
                .unavailable, "the API wrote \(answer.bytesWritten) bytes of \(source.size)", isInDoubt: true)
        }
    }

    /// The mode at creation is subject to a umask of the server's, and not every version looks at it.
    private func chmod(_ path: String, _ mode: UInt16, in id: SandboxID) async throws {
        var request = ChmodRequest()
        request.sandbox = DepotMessages.sandbox(id)
        request.path = path
        request.mode = UInt32(mode)
        request.sudo = true
        _ = try await client.unary(SandboxMethods.chmod, request, deadline: configuration.answerPatience)
    }

    private func rename(_ from: String, _ to: String, in id: SandboxID) async throws {
        var request = RenameRequest()
        request.sandbox = DepotMessages.sandbox(id)
        request.fromPath = from
        request.toPath = to
        request.sudo = true
        _ = try await client.unary(SandboxMethods.rename, request, deadline: configuration.answerPatience)
    }

    /// Removes what a failed write left, where there is somebody to do it.
    private func remove(_ path: String, after error: any Error, in id: SandboxID) async {
        if let code = (error as? SandboxError)?.code, [.notFound, .ended, .credentials].contains(code) { return }
        var request = RemoveRequest()
        request.sandbox = DepotMessages.sandbox(id)
        request.path = path
        request.ignoreMissing = true
        request.sudo = true
        do {
            _ = try await client.unary(SandboxMethods.remove, request, deadline: .seconds(10))
        } catch {
            // It stays until the sandbox ends; the first error is the one to tell.
        }
    }

    package func readFile(_ path: String, limit: Int, in id: SandboxID) async throws -> [UInt8] {
        guard path.hasPrefix("/"), !path.utf8.contains(0) else {
            throw SandboxError(.invalidArgument, "\(path) is not an absolute path")
        }
        var request = ReadFileRequest()
        request.sandbox = DepotMessages.sandbox(id)
        request.path = path
        request.sudo = true
        let asked = request
        let deadline = configuration.answerPatience + .seconds(Int64(max(0, limit) / (256 << 10)))
        return try await inSandbox(id, "read \(path)", .reading) { [client] in
            try await client.serverStream(SandboxMethods.readFile, asked, deadline: deadline) { stream in
                var bytes: [UInt8] = []
                while let part = try await stream.next() {
                    guard part.data.count <= limit - bytes.count else {
                        throw SandboxError(.outputTooLarge, "it is larger than \(limit) bytes")
                    }
                    bytes += part.data
                }
                return bytes
            }
        }
    }
}

/// The bytes of an upload, read a piece at a time.
private struct UploadSource: Sendable {
    let size: Int
    private let origin: Origin

    private enum Origin: Sendable {
        case bytes([UInt8])
        case file(HostFile)
    }

    private final class HostFile: Sendable {
        let file: OpenFile

        init(_ path: String) throws(FileError) {
            file = try OpenFile(path, O_RDONLY)
        }
    }

    init(_ contents: FileContents) async throws {
        switch contents {
        case .bytes(let bytes):
            origin = .bytes(bytes)
            size = bytes.count
        case .hostFile(let path):
            (origin, size) = try await onOwnThread {
                do {
                    let file = try HostFile(path)
                    return (.file(file), Int(try file.file.status().st_size))
                } catch let error as FileError {
                    throw SandboxError(
                        error.errno == ENOENT ? .notFound : .system, "cannot upload \(path): \(error)", cause: error)
                }
            }
        }
    }

    /// Off the cooperative pool, for a disk may be slow.
    func bytes(at offset: Int, count: Int) async throws -> [UInt8] {
        switch origin {
        case .bytes(let bytes):
            return Array(bytes[offset..<(offset + count)])
        case .file(let source):
            return try await onOwnThread {
                var buffer = [UInt8](repeating: 0, count: count)
                let read = try buffer.withUnsafeMutableBytes { try source.file.read(into: $0, at: offset) }
                guard read == count else {
                    throw SandboxError(.invalidArgument, "\(source.file.path) became shorter while it was uploaded")
                }
                return buffer
            }
        }
    }
}
