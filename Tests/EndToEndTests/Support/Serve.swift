import Foundation
import Glibc
import Testing

/// `snapwf serve` on a socket, over a state directory of its own: killed and started again, it serves on.
final class Serve: @unchecked Sendable {
    let installation: Installation
    let address: String
    private var child: Child

    init() async throws {
        installation = try Installation()
        address = "unix:" + installation.home + "/socket"
        child = try Self.start(installation, address)
        try await waitUntilItListens()
    }

    deinit { child.signal(SIGKILL) }

    private static func start(_ installation: Installation, _ address: String) throws -> Child {
        try installation.start("serve", "--listen", address)
    }

    private func waitUntilItListens() async throws {
        let child = child
        try await eventually("the server listens") { child.errorsSoFar.contains("serving") }
    }

    func kill() async throws {
        child.signal(SIGKILL)
        try await child.wait()
    }

    func restart() async throws {
        child = try Self.start(installation, address)
        try await waitUntilItListens()
    }

    /// As a deploy does.
    func terminate() async throws -> Finished {
        child.signal(SIGTERM)
        return try await child.wait()
    }

    func expectNoSandbox(_ comment: String) throws {
        let left = installation.names(in: "sandboxes")
        #expect(left.isEmpty, "\(comment): \(left)")
    }
}
