import Connect
import Sandbox
import SandboxAPI
import SwiftProtobuf

extension SandboxService {
    /// A short look or change at one place.
    fileprivate static let patience = Duration.seconds(30)
    /// A tree to be removed, a file to be copied.
    private static let longPatience = Duration.seconds(900)
    /// Names of a directory that fit into one answer, with room for what the encoding adds.
    private static let listingLimit = 2 << 20

    func mkdir(_ request: MkdirRequest) async throws -> MkdirResponse {
        let mode = request.hasMode ? try RequestChecks.mode(request.mode) : ""
        let path = try RequestChecks.path(request.path)
        try await change("mkdir", FileScripts.mkdir, [path, mode, request.recursive ? "-p" : ""], request.sandbox)
        return MkdirResponse()
    }

    /// Of a symbolic link itself unless `follow_symlinks`. `mode` holds the permission bits.
    func stat(_ request: StatRequest) async throws -> StatResponse {
        let path = try RequestChecks.path(request.path)
        let output = try await file(
            "stat", path, FileScripts.stat, [path, request.followSymlinks ? "-L" : ""], request.sandbox)
        guard var response = StatResponse(lines: output) else {
            throw FileFailure.error("stat", path, complaint: "the sandbox's stat says something else than expected")
        }
        response.path = request.path
        return response
    }

    /// In the order of the names' bytes. A name that is not UTF-8 is shown with replacements: it is there, but no call
    /// can name it.
    func readDir(_ request: ReadDirRequest) async throws -> ReadDirResponse {
        let path = try RequestChecks.path(request.path)
        let output: [UInt8]
        do {
            output = try await file("readdir", path, FileScripts.readDir, [path], request.sandbox)
        } catch let error as SandboxError where error.code == .outputTooLarge {
            throw ConnectError(
                .resourceExhausted,
                "readdir \(path): too many names for one answer; list it with a command, such as find")
        }
        let entries = output.split(separator: 0).compactMap { entry -> ReadDirResponse.Entry? in
            guard let letter = entry.first else { return nil }
            return ReadDirResponse.Entry.with {
                $0.name = String(decoding: entry.dropFirst(), as: UTF8.self)
                if request.withFileTypes { $0.type = FileType(letter: letter) }
            }
        }
        return ReadDirResponse.with {
            $0.entries = entries.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        }
    }

    func remove(_ request: RemoveRequest) async throws -> RemoveResponse {
        let path = try RequestChecks.entryPath(request.path)
        do {
            try await change(
                "remove", FileScripts.remove, [path, request.recursive ? "recursive" : ""], request.sandbox,
                patience: Self.longPatience)
        } catch let error as ConnectError
            where request.ignoreMissing && error.code == .notFound && !error.details.isEmpty
        {
            // The detail tells that the file is missing, and not the sandbox.
        }
        return RemoveResponse()
    }

    func rename(_ request: RenameRequest) async throws -> RenameResponse {
        let from = try RequestChecks.entryPath(request.fromPath, "from_path")
        let to = try RequestChecks.entryPath(request.toPath, "to_path")
        try await change("rename", FileScripts.rename, [from, to], request.sandbox, patience: Self.longPatience)
        return RenameResponse()
    }

    func copyFile(_ request: CopyFileRequest) async throws -> CopyFileResponse {
        let from = try RequestChecks.path(request.fromPath, "from_path")
        let to = try RequestChecks.path(request.toPath, "to_path")
        try await change(
            "copy", FileScripts.copy, [from, to, request.preserveMetadata ? "-p" : ""], request.sandbox,
            patience: Self.longPatience)
        return CopyFileResponse()
    }

    func truncate(_ request: TruncateRequest) async throws -> TruncateResponse {
        let path = try RequestChecks.path(request.path)
        guard request.size >= 0 else { throw ConnectError.invalid("size", "is negative") }
        try await change("truncate", FileScripts.truncate, [path, String(request.size)], request.sandbox)
        return TruncateResponse()
    }

    func chmod(_ request: ChmodRequest) async throws -> ChmodResponse {
        let path = try RequestChecks.path(request.path)
        try await change("chmod", FileScripts.chmod, [path, try RequestChecks.mode(request.mode)], request.sandbox)
        return ChmodResponse()
    }

    func chown(_ request: ChownRequest) async throws -> ChownResponse {
        let path = try RequestChecks.path(request.path)
        guard request.hasUid || request.hasGid else { throw ConnectError.invalid("uid", "is missing, and so is gid") }
        // chown(2) takes 2^32 - 1 for "leave it".
        guard request.uid < .max else { throw ConnectError.invalid("uid", "\(request.uid) is no user") }
        guard request.gid < .max else { throw ConnectError.invalid("gid", "\(request.gid) is no group") }
        let owner = (request.hasUid ? "\(request.uid)" : "") + (request.hasGid ? ":\(request.gid)" : "")
        try await change("chown", FileScripts.chown, [path, owner], request.sandbox)
        return ChownResponse()
    }

    func symlink(_ request: SymlinkRequest) async throws -> SymlinkResponse {
        let link = try RequestChecks.entryPath(request.linkPath, "link_path")
        guard !request.target.isEmpty, !request.target.utf8.contains(0) else {
            throw ConnectError.invalid("target", "is empty or holds a zero byte")
        }
        guard request.target.utf8.count <= RequestChecks.longestPath else {
            throw ConnectError.invalid("target", "is longer than \(RequestChecks.longestPath) bytes")
        }
        try await change("symlink", FileScripts.symlink, [request.target, link], request.sandbox, path: link)
        return SymlinkResponse()
    }

    func readlink(_ request: ReadlinkRequest) async throws -> ReadlinkResponse {
        let path = try RequestChecks.path(request.path)
        var output = try await file("readlink", path, FileScripts.readlink, [path], request.sandbox)
        if output.last == UInt8(ascii: "\n") { output.removeLast() }
        guard let target = String(validating: output, as: UTF8.self) else {
            throw ConnectError(
                .failedPrecondition, "readlink \(path): its target is not UTF-8, and the API carries nothing else")
        }
        return ReadlinkResponse.with { $0.target = target }
    }

    func access(_ request: AccessRequest) async throws -> AccessResponse {
        let path = try RequestChecks.path(request.path)
        guard request.mode <= 7 else {
            throw ConnectError.invalid("mode", "is more than 7: read 4, write 2, execute 1")
        }
        let wanted = [(4, "r"), (2, "w"), (1, "x")].filter { request.mode & $0.0 != 0 }.map(\.1)
        try await change("access", FileScripts.access, [path] + wanted, request.sandbox)
        return AccessResponse()
    }

    // MARK: Shared

    private func change(
        _ call: String, _ script: String, _ arguments: [String], _ sandbox: SandboxRef, path: String? = nil,
        patience: Duration = SandboxService.patience
    ) async throws {
        _ = try await file(call, path ?? arguments[0], script, arguments, sandbox, patience: patience)
    }

    /// Runs a script; what it wrote to standard output.
    private func file(
        _ call: String, _ path: String, _ script: String, _ arguments: [String], _ sandbox: SandboxRef,
        patience: Duration = SandboxService.patience
    ) async throws -> [UInt8] {
        let id = try sandbox.checked()
        var command = ShortCommand.shell(script, arguments)
        command.environment = Self.scriptEnvironment
        command.deadline = patience
        command.outputLimit = Self.listingLimit
        let output = try await fileCalls.run { try await provider.run(command, in: id) }
        guard output.exitCode == 0 else { throw FileFailure.error(call, path, complaint: output.errorText) }
        return output.standardOutput
    }

    /// Complaints in the words that ``FileFailure`` knows, and names as bytes.
    static let scriptEnvironment = ["LC_ALL": "C"]
}

extension FileType {
    /// A letter of ``FileScripts/readDir``.
    fileprivate init(letter: UInt8) {
        switch letter {
        case UInt8(ascii: "f"): self = .file
        case UInt8(ascii: "d"): self = .directory
        case UInt8(ascii: "l"): self = .symlink
        case UInt8(ascii: "b"): self = .blockDevice
        case UInt8(ascii: "c"): self = .characterDevice
        case UInt8(ascii: "p"): self = .fifo
        case UInt8(ascii: "s"): self = .socket
        default: self = .unspecified
        }
    }

    /// The type bits of st_mode (inode(7)).
    fileprivate init(mode: UInt32) {
        switch mode & 0o170000 {
        case 0o100000: self = .file
        case 0o040000: self = .directory
        case 0o120000: self = .symlink
        case 0o060000: self = .blockDevice
        case 0o020000: self = .characterDevice
        case 0o010000: self = .fifo
        case 0o140000: self = .socket
        default: self = .unspecified
        }
    }
}

extension StatResponse {
    /// What ``FileScripts/stat`` prints.
    fileprivate init?(lines output: [UInt8]) {
        let lines = String(decoding: output, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count >= 3 else { return nil }
        let numbers = lines[0].split(separator: " ")
        guard numbers.count == 3, let mode = UInt32(numbers[0], radix: 16), let size = Int64(numbers[1]),
            let modified = Int64(numbers[2])
        else { return nil }
        self.init()
        self.mode = mode & 0o7777
        self.type = FileType(mode: mode)
        self.size = size
        mtimeUnixSeconds = modified
        uname = String(lines[1])
        gname = String(lines[2])
    }
}
