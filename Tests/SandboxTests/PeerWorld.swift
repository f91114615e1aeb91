import Connect
import Glibc
import Synchronization
import TestSupport
import Testing

@testable import Sandbox

/// What one test sees of the independent peer: an organisation of its own, and a provider that asks for it.
struct PeerWorld {
    let peer: Peer
    let organization: String
    let provider: DepotProvider

    static var isPossible: Bool { Peer.whyNot == nil }

    /// One process for all tests; it ends, with everything in it, when this process does.
    private static let shared = Mutex<Peer?>(nil)

    private static func peer() throws -> Peer {
        try shared.withLock { shared in
            if let shared { return shared }
            let peer = try Peer()
            shared = peer
            atexit { PeerWorld.shared.withLock { $0 = nil } }
            return peer
        }
    }

    /// Runs a test in an organisation of its own, and ends what it left.
    static func with(
        settings: [String: Any] = [:], configure: (inout DepotProvider.Configuration) -> Void = { _ in },
        _ body: (PeerWorld) async throws -> Void
    ) async throws {
        let peer = try peer()
        let organization = "org-" + randomName(12)
        try peer.set(["kill_seconds": 0.01].merging(settings) { $1 }, organization: organization)
        var configuration = DepotProvider.Configuration(url: peer.url, organization: organization)
        configuration.listingLag = .milliseconds(200)
        configuration.pollPause = .milliseconds(20)
        configuration.retry.firstDelay = .milliseconds(10)
        configure(&configuration)
        let world = PeerWorld(peer: peer, organization: organization, provider: try DepotProvider(configuration))
        var failure: (any Error)?
        do { try await body(world) } catch { failure = error }
        try world.clear(["mode": "normal", "list_loop": false, "missing": [String]()])
        for info in try await world.provider.list() where info.state.isAlive { try await world.provider.kill(info.id) }
        await world.provider.shutdown()
        if let failure { throw failure }
    }

    @discardableResult
    func control(_ document: [String: Any]) throws -> Peer.Report {
        try peer.control(document, organization: organization)
    }

    func rules(_ rules: [String: Any]...) throws {
        try control(["rules": rules])
    }

    func act(_ what: String, on id: SandboxID) throws {
        try control(["act": [["sandbox": id.rawValue, "do": what]]])
    }

    func settings(_ settings: [String: Any]) throws {
        try peer.set(settings, organization: organization)
    }

    /// No more faults.
    func clear(_ settings: [String: Any] = [:]) throws {
        try control(["clear": true, "settings": settings])
    }

    /// How often something happened: `call`, `created`, `ended`, `kill`, `command` …
    func count(_ event: String, _ method: String? = nil) throws -> Int {
        try peer.journal(event, organization: organization).count { method == nil || $0.method == method }
    }

    func living() throws -> Int { try control([:]).living }
}
