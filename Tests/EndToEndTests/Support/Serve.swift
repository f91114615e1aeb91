import Foundation
import Glibc
import Testing

/// `snapwf serve`, over a state directory of its own: killed and started again, it serves on.
final class Serve: @unchecked Sendable {
    let installation: Installation
    /// As it says itself.
    private(set) var address: String
    private let arguments: [String]
    private var child: Child

    /// On a socket in its own directory.
    convenience init() async throws {
        let installation = try Installation()
        try await self.init(installation, ["--listen", "unix:" + installation.home + "/socket"])
    }

    init(_ installation: Installation, _ arguments: [String]) async throws {
        self.installation = installation
        self.arguments = arguments
        address = ""
        child = try installation.start(["serve"] + arguments)
        try await waitUntilItListens()
    }

    deinit { child.signal(SIGKILL) }

    private func waitUntilItListens() async throws {
        let child = child
        var said: Substring?
        try await eventually("the server listens") {
            said = child.errorsSoFar.firstMatch(of: /--api (\S+) IMAGE/)?.1
            return said != nil
        }
        address = String(said ?? "")
    }

    func kill() async throws {
        child.signal(SIGKILL)
        try await child.wait()
    }

    /// - Parameter arguments: others than before.
    func restart(_ arguments: [String]? = nil) async throws {
        child = try installation.start(["serve"] + (arguments ?? self.arguments))
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
