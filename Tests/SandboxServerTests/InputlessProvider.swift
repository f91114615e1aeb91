import Sandbox

/// A provider whose commands have no standard input, as a remote one's.
struct InputlessProvider: SandboxProvider {
    let inner: any SandboxProvider

    var name: String { inner.name }
    var capabilities: Capabilities {
        var capabilities = inner.capabilities
        capabilities.standardInput = false
        return capabilities
    }

    func run(_ command: ShortCommand, in id: SandboxID) async throws -> CommandOutput {
        if command.standardInput != nil { throw SandboxError(.unimplemented, "no input") }
        return try await inner.run(command, in: id)
    }

    func stream(
        _ command: StreamedCommand, in id: SandboxID, onProgress: (CommandProgress) async throws -> Void
    ) async throws -> Int32 {
        if command.input != nil { throw SandboxError(.unimplemented, "no input") }
        return try await inner.stream(command, in: id, onProgress: onProgress)
    }

    func check() async throws { try await inner.check() }
    func create(_ spec: SandboxSpec) async throws -> SandboxInfo { try await inner.create(spec) }
    func list() async throws -> [SandboxInfo] { try await inner.list() }
    func get(_ id: SandboxID) async throws -> SandboxInfo? { try await inner.get(id) }
    func writeFile(_ path: String, mode: UInt16, contents: FileContents, in id: SandboxID) async throws {
        try await inner.writeFile(path, mode: mode, contents: contents, in: id)
    }
    func readFile(_ path: String, limit: Int, in id: SandboxID) async throws -> [UInt8] {
        try await inner.readFile(path, limit: limit, in: id)
    }
    func setTimeToLive(_ timeToLive: Duration, of id: SandboxID) async throws {
        try await inner.setTimeToLive(timeToLive, of: id)
    }
    func kill(_ id: SandboxID) async throws { try await inner.kill(id) }
}
