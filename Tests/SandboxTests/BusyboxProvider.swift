@testable import Sandbox

/// A sandbox whose shell and tools are busybox's, as in a small builder image.
struct BusyboxProvider: SandboxProvider {
    let inner: LocalProvider
    /// Debian's busybox runs its own tools whatever is in `PATH`; another shell shows what an image lacks.
    var hasBusyboxShell = true
    /// The directory inside with busybox and its links; nothing else is in `PATH`.
    private let tools = "/work/tools"

    var name: String { inner.name }
    var capabilities: Capabilities { inner.capabilities }

    /// - Parameter applets: those that the image has.
    func install(_ applets: [String], in id: SandboxID) async throws {
        try await inner.writeFile(
            tools + "/busybox", mode: 0o755, contents: .hostFile("/usr/bin/busybox"), in: id
        )
        let script = "cd \(tools) || exit 1; for name; do ln -s busybox \"$name\" || exit 1; done"
        let output = try await inner.run(.shell(script, applets), in: id)
        guard output.exitCode == 0 else { throw SandboxError(.commandFailed, output.errorText) }
    }

    func run(_ command: ShortCommand, in id: SandboxID) async throws -> CommandOutput {
        var command = command
        if hasBusyboxShell && command.arguments.first == "/bin/sh" { command.arguments[0] = tools + "/sh" }
        command.environment["PATH"] = tools
        return try await inner.run(command, in: id)
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
