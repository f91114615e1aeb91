import Foundation
import TestSupport
import Testing

/// The fake of Depot's Sandbox API does what tests of clients build on.
@Suite(.serialized)
struct PeerTests {
    @Test("its faults are what they say, seen with sockets")
    func faults() async throws {
        try await run("check_faults.py", [])
    }

    @Test(
        "the package's own client is content with it",
        arguments: [["--codec", "proto", "--http", "1.1"], ["--codec", "json", "--http", "2"]])
    func client(_ options: [String]) async throws {
        let peer = try Peer(token: "secret", organization: "acme")
        try peer.set(["unknown_fields": true, "snapshots": true])
        let who = ["--token", "secret", "--org", "acme", "--snapshots"]
        try await run("client.py", ["--url", peer.url] + who + options)
        let broken = try peer.journal("answer").filter { $0.outcome == "unknown" || $0.outcome == "internal" }
        #expect(broken.isEmpty, "\(broken)")
        #expect(peer.log.isEmpty, "\(peer.log)")
    }

    @Test("killed and started again, it knows its sandboxes and what it was told to do; stopped, it leaves nothing")
    func restart() throws {
        let peer = try Peer()
        try peer.fault("ListSandboxes", "status")
        let made = try peer.control(["sandboxes": [["name": "a", "real": true], ["name": "b"]]], organization: "acme")
            .made
        try #require(made.count == 2)
        let end = ContinuousClock.now + .seconds(30)
        while try peer.control().processes < 1 {
            try #require(ContinuousClock.now < end, "the sandbox has no process: \(peer.log)")
            usleep(10_000)
        }
        peer.kill()
        #expect(throws: (any Error).self) { try peer.control() }
        try peer.restart()
        var report = try peer.control()
        // A sandbox that has just begun is a process more for a moment.
        while report.processes != 1, ContinuousClock.now < end {
            usleep(10_000)
            report = try peer.control()
        }
        #expect(report.living == 2 && report.processes == 1, "\(report)")
        #expect(report.sandboxes.map(\.id) == made.reversed())
        #expect(try peer.journal("created", organization: "acme").compactMap(\.sandbox) == made)
        #expect(try peer.journal("started").count == 2)
        let before = processes(naming: peer.state)
        #expect(before > 0)
        peer.stop()
        #expect(processes(naming: peer.state) == 0, "of \(before)")
    }

    private func run(_ program: String, _ arguments: [String]) async throws {
        let said = try await Command.run(Peer.python, ["-B", Peer.program(program)] + arguments)
        print(String(decoding: said, as: UTF8.self).split(separator: "\n").last.map { "\(program): \($0)" } ?? "")
    }

    private func processes(naming path: String) -> Int {
        let all = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return all.count { name in
            guard name.allSatisfy(\.isNumber), let line = FileManager.default.contents(atPath: "/proc/\(name)/cmdline")
            else { return false }
            return line.range(of: Data(path.utf8)) != nil
        }
    }
}
