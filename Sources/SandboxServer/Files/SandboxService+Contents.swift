import Connect
import Files
import Foundation
import Sandbox
import SandboxAPI
import SwiftProtobuf

extension SandboxService {
    /// The file's bytes as they are read, at last a message with `eof`: an end without it is an error.
    func readFile(
        _ request: ReadFileRequest, send: (ReadFileResponse) async throws -> Void
    ) async throws {
        let id = try request.sandbox.checked()
        let path = try RequestChecks.path(request.path)
        var command = StreamedCommand.shell(FileScripts.read, [path])
        command.environment = Self.scriptEnvironment
        let complaint = try await streams.run {
            try await succeed(command, in: id) { bytes in
                for piece in Self.messages(bytes) { try await send(ReadFileResponse.with { $0.data = piece }) }
            }
        }
        if let complaint { throw FileFailure.error("read", path, complaint: complaint) }
        try await send(ReadFileResponse.with { $0.eof = true })
    }

    /// Writes what comes to a file, in place: after an error, and while it comes, the file holds a part of it. Whoever
    /// needs more writes aside and then calls Rename.
    ///
    /// A provider whose commands have no input gets the file as a whole, once it is here.
    func writeFile(
        receive: () async throws -> WriteFileRequest?
    ) async throws -> WriteFileResponse {
        guard let first = try await receive(), case .init_p(let target)? = first.input else {
            throw ConnectError.invalid("init", "is not the first message")
        }
        let id = try target.sandbox.checked()
        let path = try RequestChecks.entryPath(target.path, "init.path")
        guard !target.path.hasSuffix("/") else { throw ConnectError.invalid("init.path", "ends with a slash") }
        let mode = target.hasMode ? try RequestChecks.mode(target.mode, "init.mode") : ""
        guard provider.capabilities.standardInput else {
            return try await streams.run { try await writeWhole(target, path, receive, in: id) }
        }
        let feed = CommandFeed()
        var command = StreamedCommand.shell(
            FileScripts.write,
            [path, mode, target.append ? "append" : "", target.createDirectories ? "parents" : ""], input: feed)
        command.environment = Self.scriptEnvironment
        return try await streams.run { [command] in
            // Left by a throw, this kills the command and waits for it.
            async let complaint = succeed(command, in: id) { _ in }
            let count = try await Self.pass(receive) { try await feed.write($0) }
            feed.finish()
            if let complaint = try await complaint {
                throw FileFailure.error("write", path, complaint: complaint)
            }
            return WriteFileResponse.with { $0.bytesWritten = count }
        }
    }

    /// - Parameter write: answers `false` when it wants no more.
    /// - Returns: how many bytes were passed on.
    private static func pass(
        _ receive: () async throws -> WriteFileRequest?, to write: ([UInt8]) async throws -> Bool
    ) async throws -> Int64 {
        var count: Int64 = 0
        while let message = try await receive() {
            guard case .data(let data)? = message.input else {
                throw ConnectError.invalid("data", "is missing in a message after the first")
            }
            // Nobody reads: the command failed, and says why.
            guard try await write(Array(data)) else { break }
            count += Int64(data.count)
        }
        return count
    }

    /// By way of a file of this host, which is gone in the end, whatever happens.
    private func writeWhole(
        _ target: WriteFileRequest.Init, _ path: String, _ receive: () async throws -> WriteFileRequest?,
        in id: SandboxID
    ) async throws -> WriteFileResponse {
        guard !target.append else {
            throw ConnectError(.unimplemented, "init.append: the provider \(provider.name) only writes whole files")
        }
        let spool = try await onOwnThread { try SpooledFile() }
        let count = try await Self.pass(receive) { bytes in
            try await onOwnThread { try spool.append(bytes) }
            return true
        }
        let mode = target.hasMode ? UInt16(clamping: target.mode) : 0o644
        try await provider.writeFile(path, mode: mode, contents: .hostFile(spool.path), in: id)
        return WriteFileResponse.with { $0.bytesWritten = count }
    }

    /// - Returns: `nil` when the command succeeds, else the end of what it complained.
    private func succeed(
        _ command: StreamedCommand, in id: SandboxID, onOutput: ([UInt8]) async throws -> Void
    ) async throws -> String? {
        var complaint: [UInt8] = []
        let exitCode = try await provider.stream(command, in: id) { progress in
            switch progress {
            case .started: break
            case .output(let bytes): try await onOutput(bytes)
            case .errors(let bytes): complaint = Array((complaint + bytes).suffix(8192))
            }
        }
        return exitCode == 0 ? nil : String(decoding: complaint, as: UTF8.self)
    }

    /// Bytes cut to what one message should hold.
    static func messages(_ bytes: [UInt8]) -> [Data] {
        let limit = 1 << 20
        return stride(from: 0, to: bytes.count, by: limit).map { start in
            Data(bytes[start..<min(start + limit, bytes.count)])
        }
    }
}
