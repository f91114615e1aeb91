import Synchronization

@testable import Sandbox

/// A provider whose commands sometimes get no answer, as through a network.
final class FlakyProvider: SandboxProvider {
    enum Trouble: Sendable {
        /// The command never ran.
        case before
        /// It ran, and nobody hears of it.
        case after
        case cut
    }

    let inner: any SandboxProvider
    private let troubles: Mutex<[Trouble?]>
    private let count = Mutex(0)

    /// - Parameter troubles: for the first, second … command; none after the last.
    init(_ inner: any SandboxProvider, troubles: [Trouble?]) {
        self.inner = inner
        self.troubles = Mutex(troubles)
    }

    var commands: Int { count.withLock { $0 } }
    var name: String { inner.name }
    var capabilities: Capabilities { inner.capabilities }

    func run(_ command: ShortCommand, in id: SandboxID) async throws -> CommandOutput {
        count.withLock { $0 += 1 }
        let trouble = troubles.withLock { $0.isEmpty ? nil : $0.removeFirst() }
        let broken = SandboxError(.unavailable, "connection reset")
        if case .before = trouble { throw broken }
        var output = try await inner.run(command, in: id)
        if case .after = trouble { throw broken }
        if case .cut = trouble { output.standardOutput.removeLast(min(5, output.standardOutput.count)) }
        return output
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
