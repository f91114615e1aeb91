/// Sandboxes of two kinds under one roof: those that boot from a snapshot are machines, the others are not.
///
/// Which kind a sandbox is, its provider knows; nothing is kept here.
package struct RoutedProvider: SandboxProvider {
    /// Of sandboxes that name nothing to boot from.
    let plain: any SandboxProvider
    let machines: any SandboxProvider

    package init(plain: any SandboxProvider, machines: any SandboxProvider) {
        self.plain = plain
        self.machines = machines
    }

    package var name: String { plain.name }

    /// Of the plain ones; and that snapshots can be booted. Where the kinds differ it holds only of those without one.
    package var capabilities: Capabilities {
        var capabilities = plain.capabilities
        capabilities.bootsSnapshots = machines.capabilities.bootsSnapshots
        capabilities.standardInput = plain.capabilities.standardInput && machines.capabilities.standardInput
        capabilities.hostFiles = false
        capabilities.hostInputs = false
        return capabilities
    }

    /// Of the plain ones: whether a machine can be started is found out when one is asked for.
    package func check() async throws { try await plain.check() }

    package func create(_ spec: SandboxSpec) async throws -> SandboxInfo {
        guard spec.snapshot != nil else { return try await plain.create(spec) }
        try await machines.check()
        return try await machines.create(spec)
    }

    package func list() async throws -> [SandboxInfo] {
        let machines = try await machines.list()
        return try await plain.list() + machines
    }

    package func get(_ id: SandboxID) async throws -> SandboxInfo? {
        if let machine = try await machines.get(id) { return machine }
        return try await plain.get(id)
    }

    package func run(_ command: ShortCommand, in id: SandboxID) async throws -> CommandOutput {
        try await provider(of: id).run(command, in: id)
    }

    package func stream(
        _ command: StreamedCommand, in id: SandboxID, onProgress: (CommandProgress) async throws -> Void
    ) async throws -> Int32 {
        try await provider(of: id).stream(command, in: id, onProgress: onProgress)
    }

    package func writeFile(_ path: String, mode: UInt16, contents: FileContents, in id: SandboxID) async throws {
        try await provider(of: id).writeFile(path, mode: mode, contents: contents, in: id)
    }

    package func readFile(_ path: String, limit: Int, in id: SandboxID) async throws -> [UInt8] {
        try await provider(of: id).readFile(path, limit: limit, in: id)
    }

    package func setTimeToLive(_ timeToLive: Duration, of id: SandboxID) async throws {
        try await provider(of: id).setTimeToLive(timeToLive, of: id)
    }

    package func kill(_ id: SandboxID) async throws {
        try await provider(of: id).kill(id)
    }

    private func provider(of id: SandboxID) async throws -> any SandboxProvider {
        try await machines.get(id) == nil ? plain : machines
    }
}
