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
            try await eventually("no packed image is left") { layouts(serve).isEmpty }
            // In peace there is always one that succeeds, and it is a file system.
            _ = try await call(serve, "SnapshotSandbox", #"{"sandbox":{"id":"\#(sandbox)"},"name":"last"}"#)
            try await eventually("the last capture is ready") {
                try await snapshots(serve).first { $0["name"] as? String == "last" }?["status"] as? String
                    == "SNAPSHOT_STATUS_READY"
            }
            for name in serve.installation.names(in: "snapshots") {
                try await tool("e2fsck", "-fn", "\(serve.installation.home)/snapshots/\(name)/rootfs.ext4")
            }
            let listed = try await serve.installation.snapwf("snapshots", "ls", "--json").json()
            for snapshot in try #require(listed["snapshots"] as? [[String: Any]]) {
                let origin = try #require(snapshot["origin"] as? [String: String])
                #expect(origin["kind"] == "captured" && origin["sandbox"] == sandbox, "\(origin)")
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

        @Test("captures of an unchanged sandbox are snapshots of their own, whatever becomes of their runs' records")
        func twins() async throws {
            let serve = try await Serve()
            let sandbox = try await create(serve)
            try fill(sandbox, serve)
            let hole = "\(serve.installation.home)/sandboxes/\(sandbox)/work/hole"
            try await tool("truncate", "-s", "64M", hole)
            try await tool("sh", "-c", "printf end >> '\(hole)'")
            let sum = try await tool("sha256sum", hole).output.prefix(64)
            for name in ["first", "second", "third"] { try await capture(sandbox, name, serve) }
            try await expectReady(3, serve)
            try await serve.installation.snapwf("gc", "--grace", "0s", "--keep-runs", "0s")
            #expect(try await serve.installation.runIDs().isEmpty)
            try await expectReady(3, serve)
            try await serve.kill()
            try await serve.restart()
            try await expectReady(3, serve)
            #expect(serve.installation.names(in: "snapshots").count == 3)
            #expect(layouts(serve).isEmpty)
            for left in [2, 1, 0] {
                let found = try await snapshots(serve)
                try await delete(try #require(found.first?["snapshotId"] as? String), serve)
                let names = serve.installation.names(in: "snapshots")
                #expect(names.count == left)
                for name in names {
                    let image = "\(serve.installation.home)/snapshots/\(name)/rootfs.ext4"
                    try await tool("e2fsck", "-fn", image)
                    try await tool("debugfs", "-R", "dump /hole \(serve.installation.home)/dumped", image)
                    let dumped = try await tool("sha256sum", "\(serve.installation.home)/dumped").output
                    #expect(dumped.prefix(64) == sum)
                }
            }
            #expect(try await snapshots(serve).isEmpty)
            _ = try await call(serve, "KillSandbox", #"{"sandbox":{"id":"\#(sandbox)"}}"#)
            #expect(try await serve.terminate().status == 0)
        }

        @Test("a capture deleted anywhere on its way leaves nothing, nor do those that wait for their turn")
        func deleted() async throws {
            let serve = try await Serve()
            let sandbox = try await create(serve)
            try fill(sandbox, serve)
            var random = SeededGenerator(seed: TestSize.seed("deleted captures"))
            for number in 0..<TestSize.count(4, long: 50) {
                for twin in 0..<3 { try await capture(sandbox, "capture-\(number)-\(twin)", serve) }
                try await Task.sleep(for: .milliseconds(random.number(0...1500)))
                for capture in try await snapshots(serve) {
                    try await delete(try #require(capture["snapshotId"] as? String), serve)
                }
                #expect(try await snapshots(serve).isEmpty)
                #expect(serve.installation.names(in: "captures").isEmpty)
                #expect(serve.installation.names(in: "snapshots").isEmpty)
            }
            _ = try await call(serve, "KillSandbox", #"{"sandbox":{"id":"\#(sandbox)"}}"#)
            #expect(try await serve.terminate().status == 0)
            try await serve.installation.expectNothingLeft("after deleted captures")
        }

        private func capture(_ sandbox: String, _ name: String, _ serve: Serve) async throws {
            _ = try await call(
                serve, "SnapshotSandbox", #"{"sandbox":{"id":"\#(sandbox)"},"name":"\#(name)"}"#)
        }

        private func delete(_ id: String, _ serve: Serve) async throws {
            _ = try await call(serve, "DeleteSnapshot", #"{"snapshot":{"id":"\#(id)"}}"#)
        }

        private func expectReady(_ count: Int, _ serve: Serve) async throws {
            try await eventually("\(count) captures are ready") {
                try await snapshots(serve).map { $0["status"] as? String }
                    == Array(repeating: "SNAPSHOT_STATUS_READY", count: count)
            }
        }

        /// Captures that still have a packed image.
        private func layouts(_ serve: Serve) -> [String] {
            serve.installation.names(in: "captures")
                .filter { serve.installation.names(in: "captures/\($0)").contains("layout") }
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
