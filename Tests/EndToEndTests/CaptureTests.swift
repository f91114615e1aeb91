import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    /// SnapshotSandbox of `snapwf serve`, whose process dies while it captures.
    @Suite(.serialized)
    struct Captures {
        @Test("serve killed anywhere in a capture: the capture ends ready or failed with a reason, and can be deleted")
        func killed() async throws {
            let serve = try await Serve()
            let sandbox = try await create(serve)
            try fill(sandbox, serve)
            var random = SeededGenerator(seed: TestSize.seed("captures"))
            var ends: [String: Int] = [:]
            for number in 0..<TestSize.count(8, long: 200) {
                _ = try await call(
                    serve, "SnapshotSandbox", #"{"sandbox":{"id":"\#(sandbox)"},"name":"capture-\#(number)"}"#)
                try await Task.sleep(for: .milliseconds(random.number(0...1500)))
                try await serve.kill()
                try await serve.restart()
                try await eventually("capture \(number) ends") {
                    try await snapshots(serve).allSatisfy { $0["status"] as? String != "SNAPSHOT_STATUS_CAPTURING" }
                }
                let found = try await snapshots(serve)
                let capture = try #require(found.first { $0["name"] as? String == "capture-\(number)" })
                let status = try #require(capture["status"] as? String)
                ends[status, default: 0] += 1
                if status == "SNAPSHOT_STATUS_FAILED" {
                    #expect((capture["errorMessage"] as? String)?.contains("capture it again") == true, "\(capture)")
                }
            }
            print("captures whose server was killed: \(ends)")
            // In peace there is always one that succeeds, and it is a file system.
            _ = try await call(serve, "SnapshotSandbox", #"{"sandbox":{"id":"\#(sandbox)"},"name":"last"}"#)
            try await eventually("the last capture is ready") {
                try await snapshots(serve).first { $0["name"] as? String == "last" }?["status"] as? String
                    == "SNAPSHOT_STATUS_READY"
            }
            for name in serve.installation.names(in: "snapshots") {
                try await tool("e2fsck", "-fn", "\(serve.installation.home)/snapshots/\(name)/rootfs.ext4")
            }
            for capture in try await snapshots(serve) {
                let id = try #require(capture["snapshotId"] as? String)
                _ = try await call(serve, "DeleteSnapshot", #"{"snapshot":{"id":"\#(id)"}}"#)
            }
            #expect(try await snapshots(serve).isEmpty)
            #expect(serve.installation.names(in: "captures").isEmpty)
            _ = try await call(serve, "KillSandbox", #"{"sandbox":{"id":"\#(sandbox)"}}"#)
            #expect(try await serve.terminate().status == 0)
            try await serve.installation.snapwf("gc", "--grace", "0s")
            try await serve.installation.expectNothingLeft("after captures")
            #expect(serve.installation.names(in: "snapshots").isEmpty)
        }

        private func create(_ serve: Serve) async throws -> String {
            let made = try await call(serve, "CreateSandbox", #"{"name":"captured"}"#)
            return try #require((made["sandbox"] as? [String: Any])?["sandboxId"] as? String)
        }

        /// Files in the sandbox's work directory, put there from outside: enough that a capture takes its time.
        private func fill(_ sandbox: String, _ serve: Serve) throws {
            let work = "\(serve.installation.home)/sandboxes/\(sandbox)/work"
            try #require(FileManager.default.fileExists(atPath: work))
            for number in 0..<40 {
                let bytes = Data((0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 &* (number + 7) >> 3) })
                try bytes.write(to: URL(fileURLWithPath: "\(work)/file-\(number)"))
            }
        }

        private func snapshots(_ serve: Serve) async throws -> [[String: Any]] {
            try await call(serve, "ListSnapshots", "{}")["snapshots"] as? [[String: Any]] ?? []
        }

        private func call(_ serve: Serve, _ method: String, _ message: String) async throws -> [String: Any] {
            try await tool(
                "curl", "-sS", "--fail-with-body", "--unix-socket", String(serve.address.dropFirst("unix:".count)),
                "-H", "Content-Type: application/json", "-d", message,
                "http://localhost/depot.sandbox.v1.SandboxService/\(method)"
            ).json()
        }
    }
}
