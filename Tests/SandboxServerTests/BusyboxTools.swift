import Sandbox

/// A provider whose sandboxes have busybox's shell and tools, as a small builder image has.
struct BusyboxTools: SandboxProvider {
    let inner: any SandboxProvider
    private let tools = "/tmp/tools"

    var name: String { inner.name }
    var capabilities: Capabilities { inner.capabilities }

    func create(_ spec: SandboxSpec) async throws -> SandboxInfo {
        let info = try await inner.create(spec)
        try await inner.writeFile(tools + "/busybox", mode: 0o755, contents: .hostFile("/usr/bin/busybox"), in: info.id)
        let output = try await inner.run(
            .shell("\"$1\"/busybox --install -s \"$1\"", [tools]), in: info.id)
        guard output.exitCode == 0 else { throw SandboxError(.commandFailed, output.errorText) }
        return info
    }

    private func arguments(_ arguments: [String]) -> [String] {
        arguments.first == "/bin/sh" ? [tools + "/sh"] + arguments.dropFirst() : arguments
    }

    func run(_ command: ShortCommand, in id: SandboxID) async throws -> CommandOutput {
        var command = command
        command.arguments = arguments(command.arguments)
        command.environment["PATH"] = tools
        return try await inner.run(command, in: id)
    }

    func stream(
        _ command: StreamedCommand, in id: SandboxID, onProgress: (CommandProgress) async throws -> Void
    ) async throws -> Int32 {
        var command = command
        command.arguments = arguments(command.arguments)
        command.environment["PATH"] = tools
        return try await inner.stream(command, in: id, onProgress: onProgress)
    }

    func check() async throws { try await inner.check() }
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
