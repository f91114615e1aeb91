import Connect
import Logging
import SandboxServer
import Testing

@testable import Sandbox

/// Local sandboxes behind the API on a unix socket, and the provider `depot` asking there.
enum ServedRoot {
    /// - Parameter minute: how long a minute of the API takes.
    static func with(minute: Duration, _ body: (DepotProvider) async throws -> Void) async throws {
        try await TestRoot.with { root in
            let socket = root.path + "/api.sock"
            let served = QuickProvider(inner: root.provider, minute: minute)
            var logger = Logger(label: "serve")
            logger.logLevel = .error
            let service = SandboxService(provider: served, snapshots: nil, logger: logger)
            var configuration = SandboxServerConfiguration(address: .unix(path: socket))
            configuration.grace = .seconds(2)
            let server = try SandboxServer(configuration, service: service, logger: logger)
            let (stops, stop) = AsyncStream<Void>.makeStream()
            let (starts, started) = AsyncStream<Void>.makeStream()
            let serving = Task {
                defer { started.finish() }
                try await server.run(onRunning: { _ in started.finish() }, until: { for await _ in stops {} })
            }
            for await _ in starts {}
            var asking = DepotProvider.Configuration(name: "served", url: "unix:" + socket)
            asking.listingLag = .zero
            asking.pollPause = .milliseconds(20)
            let provider = try DepotProvider(asking)
            var failure: (any Error)?
            do { try await body(provider) } catch { failure = error }
            await provider.shutdown()
            stop.finish()
            try await serving.value
            if let failure { throw failure }
        }
    }
}

/// A provider whose minutes are over sooner.
private struct QuickProvider: SandboxProvider {
    let inner: LocalProvider
    let minute: Duration

    private func quick(_ timeToLive: Duration) -> Duration { minute * (timeToLive / .seconds(60)) }

    var name: String { inner.name }
    var capabilities: Capabilities { inner.capabilities }

    func create(_ spec: SandboxSpec) async throws -> SandboxInfo {
        var spec = spec
        spec.timeToLive = quick(spec.timeToLive)
        return try await inner.create(spec)
    }

    func setTimeToLive(_ timeToLive: Duration, of id: SandboxID) async throws {
        try await inner.setTimeToLive(quick(timeToLive), of: id)
    }

    func check() async throws { try await inner.check() }
    func list() async throws -> [SandboxInfo] { try await inner.list() }
    func get(_ id: SandboxID) async throws -> SandboxInfo? { try await inner.get(id) }
    func run(_ command: ShortCommand, in id: SandboxID) async throws -> CommandOutput {
        try await inner.run(command, in: id)
    }
    func stream(
        _ command: StreamedCommand, in id: SandboxID, onProgress: (CommandProgress) async throws -> Void
    ) async throws -> Int32 {
        try await inner.stream(command, in: id, onProgress: onProgress)
    }
    func writeFile(_ path: String, mode: UInt16, contents: FileContents, in id: SandboxID) async throws {
        try await inner.writeFile(path, mode: mode, contents: contents, in: id)
    }
    func readFile(_ path: String, limit: Int, in id: SandboxID) async throws -> [UInt8] {
        try await inner.readFile(path, limit: limit, in: id)
    }
    func kill(_ id: SandboxID) async throws { try await inner.kill(id) }
}
