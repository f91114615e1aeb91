import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    /// Sandboxes elsewhere: through `snapwf serve`, and through an implementation of the API that is none of ours.
    @Suite(.serialized)
    struct API {
        private static let organization = ["DEPOT_ORG_ID": "mine", "SNAPWF_API_LISTING_LAG": "1s"]

        @Test("a run through serve and one through the peer give the bytes of a run on this machine")
        func sameBytes() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout(), holding: false)
            let installation = try Installation(environment: Self.organization)
            let local = try await checksum(installation.snapwf("run", registry.reference, "--json"))
            let serve = try await Serve()
            let peer = try Peer()
            defer { peer.stop() }
            for address in [serve.address, peer.url] {
                let export = installation.home + "/export.ext4"
                let run = try await installation.snapwf(
                    "run", registry.reference, "--force", "--api", address, "-o", export, "--json")
                #expect(try checksum(run) == local, "through \(address)")
                try await tool("e2fsck", "-fn", export)
                try await installation.expectNothingLeft("after a run through \(address)")
            }
            try serve.expectNoSandbox("after a run through it")
            #expect(try peer.control().living == 0)
        }

        @Test(
            "the API's process is killed and started again in the middle of the pull: same sandbox, same command, one pull",
            arguments: ["serve", "peer"])
        func deploy(_ kind: String) async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation(environment: Self.organization)
            let serve = kind == "serve" ? try await Serve() : nil
            let peer = kind == "peer" ? try Peer() : nil
            defer { peer?.stop() }
            let address = serve?.address ?? peer?.url ?? ""
            let run = try installation.start("run", registry.reference, "--api", address, "--json")
            try await registry.waitUntilHolding()
            let before = try await installation.sandboxes()
            try await serve?.kill()
            peer?.kill()
            // Meanwhile it is asked, and does not answer.
            try await Task.sleep(for: .seconds(2))
            #expect(run.process.isRunning)
            try await serve?.restart()
            try peer?.restart()
            try registry.letGo()
            let finished = try await run.wait()
            #expect(finished.status == 0, "\(finished.everything)")
            #expect(before.count == 1)
            #expect(try await installation.sandboxes() == before)
            expectOnePull(registry)
            try await installation.expectNothingLeft("after a deploy")
            try serve?.expectNoSandbox("after a deploy")
            #expect(try peer?.control().living ?? 0 == 0)
        }

        @Test("client and API are both killed in the middle of the pull: resume goes on with the same command")
        func bothKilled() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation(environment: Self.organization)
            let serve = try await Serve()
            let run = try installation.start("run", registry.reference, "--api", serve.address, "--json")
            try await registry.waitUntilHolding()
            let before = try await installation.sandboxes()
            run.signal(SIGKILL)
            try await run.wait()
            try await serve.kill()
            try await serve.restart()
            try registry.letGo()
            let finished = try await installation.snapwf("resume", "@last", "--json")
            #expect(finished.status == 0, "\(finished.everything)")
            #expect(try await installation.sandboxes() == before)
            expectOnePull(registry)
            try await installation.expectNothingLeft("after both died")
            try serve.expectNoSandbox("after both died")
        }

        @Test("serve, asked to stop, leaves its sandboxes to its next life")
        func stop() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation(environment: Self.organization)
            let serve = try await Serve()
            let run = try installation.start("run", registry.reference, "--api", serve.address, "--json")
            try await registry.waitUntilHolding()
            let stopped = try await serve.terminate()
            #expect(stopped.status == 0, "\(stopped.everything)")
            try await serve.restart()
            try registry.letGo()
            let finished = try await run.wait()
            #expect(finished.status == 0, "\(finished.everything)")
            expectOnePull(registry)
        }

        @Test("the token is revoked in the middle of the pull: the run waits for a new one, with its sandbox")
        func revoked() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let token = try makeTemporaryDirectory("token") + "/token"
            func issue(_ text: String) throws { try Data(text.utf8).write(to: URL(fileURLWithPath: token)) }
            try issue("first-of-sixteen-letters")
            let serve = try await Serve(
                try Installation(), ["--listen", "127.0.0.1:0", "--token-file", token])
            let installation = try Installation()
            let port = try #require(serve.address.split(separator: ":").last)
            let run = try installation.start(
                "run", registry.reference, "--api", serve.address,
                environment: ["SNAPWF_TOKEN": "first-of-sixteen-letters"])
            try await registry.waitUntilHolding()
            let before = try await installation.sandboxes()
            try await serve.kill()
            try issue("second-of-sixteen-letters")
            try await serve.restart(["--listen", "127.0.0.1:\(port)", "--token-file", token])
            let refused = try await run.wait()
            #expect(refused.status == 4, "\(refused.everything)")
            #expect(refused.errors.contains("snapwf resume"), "\(refused.everything)")
            #expect(before.count == 1)
            #expect(try await installation.sandboxes() == before)
            try registry.letGo()
            let finished = try await installation.start(
                "resume", "@last", "--json", environment: ["SNAPWF_TOKEN": "second-of-sixteen-letters"]
            ).wait()
            #expect(finished.status == 0, "\(finished.everything)")
            #expect(try await installation.sandboxes() == before)
            expectOnePull(registry)
            try serve.expectNoSandbox("after a new token")
        }

        @Test("another user of this machine, over TLS with a token, gets the same bytes; without the CA nothing")
        func otherUser() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout(), holding: false)
            let directory = try makeTemporaryDirectory("other-user")
            let (certificate, key) = (directory + "/cert.pem", directory + "/key.pem")
            try await tool(
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-days", "2", "-keyout", key, "-out", certificate, "-subj", "/CN=localhost", "-addext",
                "subjectAltName=DNS:localhost,IP:127.0.0.1")
            let serve = try await Serve(
                try Installation(environment: ["SNAPWF_SERVE_TOKEN": "sesame"]),
                ["--listen", "127.0.0.1:0", "--tls-cert", certificate, "--tls-key", key])
            #expect(serve.address.hasPrefix("https://127.0.0.1:"))
            // The programs may stand where only root can read.
            let script = """
                cp "$1" "$2" "$0" && cd "$0" && mkdir home && chown 65534 home && chmod 755 . snapwf snapshot
                chmod 644 cert.pem
                """
            try await tool("sh", "-ec", script, directory, Programs.snapwf, Programs.snapshot)
            func run(_ arguments: String..., variables: [String: String]) async throws -> Finished {
                try await Child(
                    "/usr/bin/env",
                    ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", directory + "/snapwf"]
                        + arguments,
                    environment: ["SNAPWF_HOME": directory + "/home", "SNAPWF_TOKEN": "sesame", "HOME": "/nonexistent"]
                        .merging(variables) { $1 }
                ).wait()
            }
            let trusted = ["SNAPWF_API_CA_FILE": certificate]
            let refused = try await run("run", registry.reference, "--api", serve.address, variables: [:])
            #expect(
                refused.status == 6 && refused.errors.contains("SNAPWF_API_CA_FILE"), "\(refused.everything)")
            let theirs = try await checksum(
                run("run", registry.reference, "--api", serve.address, "--json", variables: trusted))
            let installation = try Installation()
            #expect(try await checksum(installation.snapwf("run", registry.reference, "--json")) == theirs)
            try serve.expectNoSandbox("after another user's run")
        }

        @Test("refusals: token, organization, permission, an old API, no API, nobody there")
        func refusals() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout(), holding: false)
            let installation = try Installation(environment: ["SNAPWF_API_LISTING_LAG": "1s"])
            let peer = try Peer(token: "sesame", organization: "mine")
            defer { peer.stop() }
            let host = "http://" + registry.reference.prefix { $0 != "/" }
            func refused(
                _ status: Int32, _ saying: String, _ arguments: [String], _ variables: [String: String] = [:]
            ) async throws {
                let run = try await Child(
                    Programs.snapwf, ["run", registry.reference] + arguments,
                    environment: ["SNAPWF_HOME": installation.home].merging(variables) { $1 }
                ).wait()
                #expect(run.status == status, "\(arguments): \(run.everything)")
                #expect(run.errors.contains(saying), "\(arguments): \(run.everything)")
                #expect(!run.everything.contains("hunter2") && !run.everything.contains("sesame"), "\(run.everything)")
            }
            try await refused(4, "SNAPWF_TOKEN", ["--api", peer.url, "--org", "mine"])
            try await refused(4, "not accepted", ["--api", peer.url, "--org", "mine", "--token", "hunter2"])
            try await refused(4, "--org", ["--api", peer.url, "--token", "sesame"])
            try await refused(4, "organisation other", ["--api", peer.url, "--token", "sesame", "--org", "other"])
            try peer.set(["missing": ["ListSandboxes"]])
            try await refused(6, "too old", ["--api", peer.url, "--org", "mine"], ["SNAPWF_TOKEN": "sesame"])
            try peer.set(["missing": [String](), "mode": "html"])
            try await refused(6, "no Sandbox API", ["--api", peer.url, "--org", "mine"], ["SNAPWF_TOKEN": "sesame"])
            try await refused(6, "no Connect server", ["--api", host])
            try await refused(6, "Connection refused", ["--api", "http://127.0.0.1:9"])
            try await refused(64, "https://HOST", ["--api", "nonsense"])
            try await refused(64, "password", ["--api", "http://me:hunter2@127.0.0.1:9"])
            // Depot's token is for Depot.
            try peer.set(["mode": "normal"])
            try await refused(
                4, "SNAPWF_TOKEN", ["--api", peer.url, "--org", "mine"], ["DEPOT_TOKEN": "sesame"])
            #expect(try await installation.runIDs().isEmpty)
        }

        @Test("what is only on this machine, or not possible there, is refused before anything starts")
        func impossible() async throws {
            let layout = try await Images.shared.smallLayout()
            let serve = try await Serve()
            let installation = try Installation()
            for (arguments, saying) in [
                (["oci:\(layout):latest", "--api", serve.address], "push it to a registry"),
                (["127.0.0.1:9/x", "--api", serve.address, "--ttl", "7d"], "--ttl"),
                (["oci:\(layout):latest", "--builder-image", "debian"], "--builder-image"),
                (["oci:\(layout):latest", "--register", "api"], "--register api"),
                (["127.0.0.1:9/x", "--api", serve.address, "--register", "api", "-o", "/tmp/x"], "--output"),
                (["oci:\(layout):latest", "--token", "t"], "--token"),
                (["oci:\(layout):latest", "--snapshot-binary-url", "ftp://x"], "--snapshot-binary-url"),
                (["oci:\(layout):latest", "--snapshot-binary-url", "http://x/y?z"], "release document"),
            ] {
                let run = try await Child(
                    Programs.snapwf, ["run"] + arguments, environment: ["SNAPWF_HOME": installation.home]
                ).wait()
                #expect(run.status == 64 && run.errors.contains(saying), "\(arguments): \(run.everything)")
            }
            #expect(try await installation.runIDs().isEmpty)
            try serve.expectNoSandbox("nothing was started")
        }

        @Test("--snapshot-binary-url: a program, an archive, a release document; what is none of them is refused")
        func helperFromURL() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout(), holding: false)
            let files = try await FileServer()
            try await files.put(helper: Programs.snapshot)
            let installation = try Installation(environment: Self.organization)
            let peer = try Peer()
            defer { peer.stop() }
            func run(_ file: String) async throws -> Finished {
                try await installation.snapwf(
                    "run", registry.reference, "--force", "--api", peer.url, "--snapshot-binary-url",
                    files.url + file, "--json")
            }
            let pinned = "snapshot#sha256=\(files.checksum)"
            for file in ["snapshot", pinned, "snapshot.tar.gz", "release.json", "signed.json"] {
                let finished = try await run(file)
                #expect(finished.status == 0, "\(file): \(finished.everything)")
            }
            for (file, saying) in [
                ("snapshot#sha256=" + String(repeating: "0", count: 64), "SHA-256"),
                ("empty.tar.gz", "holds no file named snapshot"), ("broken.json", "not today"),
                ("page.html", "neither"), ("wrong.json", "SHA-256"), ("endless.json", "document to release document"),
                // The checksum is the helper's, not the archive's that the document leads to.
                ("signed.json#sha256=\(files.checksum)", "/signed.json says"),
            ] {
                let finished = try await run(file)
                #expect(finished.status == 1 && finished.everything.contains(saying), "\(file): \(finished.everything)")
                #expect(!finished.everything.contains("sesame"))
            }
            for file in ["nowhere", "lost.json"] {
                let before = files.requests(for: "nowhere")
                let missing = try await run(file)
                #expect(missing.status == 6 && missing.everything.contains("nowhere"), "\(missing.everything)")
                #expect(!missing.everything.contains("sesame"))
                #expect(files.requests(for: "nowhere") - before == 1, "what is not there is not asked for again")
            }
            #expect(try peer.control().living == 0)
            #expect(try await Child("/bin/grep", ["-rlF", "sesame", installation.home]).wait().status == 1)
        }

        @Test("killed while the sandbox fetches the helper, a run goes on with the downloads that were started")
        func killedWhileFetchingHelper() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout(), holding: false)
            let files = try await FileServer()
            try await files.put(helper: Programs.snapshot)
            let installation = try Installation(environment: Self.organization)
            let peer = try Peer()
            defer { peer.stop() }
            let killed = try await installation.snapwf(
                "run", registry.reference, "--api", peer.url, "--snapshot-binary-url", files.url + "release.json",
                environment: ["SNAPWF_TEST_CRASH_AT": "fetch-helper:start.after"])
            #expect(killed.status == 128 + SIGKILL, "\(killed.everything)")
            let resumed = try await installation.snapwf("resume", "@last")
            #expect(resumed.status == 0, "\(resumed.everything)")
            #expect(files.requests(for: "release.json") == 1 && files.requests(for: "snapshot.tar.gz") == 1)
            #expect(try peer.control().living == 0)
        }

        @Test("--register api: the API keeps the snapshot, once however often it is asked")
        func registerAtAPI() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout(), holding: false)
            let installation = try Installation(environment: Self.organization)
            let serve = try await Serve()
            let run = try await installation.snapwf(
                "run", registry.reference, "--api", serve.address, "--register", "api", "--json")
            try #require(run.status == 0, "\(run.everything)")
            let result = try #require(try run.json()["result"] as? [String: Any])
            let id = try #require(result["snapshotID"] as? String)
            #expect(id.hasPrefix("cap-") && result["path"] == nil)
            #expect(serve.installation.names(in: "captures") == [id])
            let kept = serve.installation.names(in: "snapshots")
            #expect(kept.count == 1)
            try await tool("e2fsck", "-fn", "\(serve.installation.home)/snapshots/\(kept.first ?? "")/rootfs.ext4")
            try await installation.expectNothingLeft("after a snapshot of the API")
            let peer = try Peer()
            defer { peer.stop() }
            let refused = try await installation.snapwf(
                "run", registry.reference, "--api", peer.url, "--register", "api")
            #expect(refused.status == 64 && refused.errors.contains("no snapshots"), "\(refused.everything)")
            try peer.set(["snapshots": true])
            let captured = try await installation.snapwf(
                "run", registry.reference, "--api", peer.url, "--register", "api")
            #expect(captured.status == 0, "\(captured.everything)")
        }

        private func checksum(_ run: Finished) throws -> String {
            try #require(run.status == 0, "\(run.everything)")
            let result = try #require(try run.json()["result"] as? [String: Any])
            return try #require(result["sha256"] as? String)
        }

        /// Each blob was asked for from its beginning once.
        private func expectOnePull(_ registry: SlowRegistry) {
            let blobs = registry.log.filter { $0.hasPrefix("GET") && $0.contains("/blobs/") }
            let layers = Dictionary(grouping: blobs, by: { $0 }).mapValues(\.count)
            // resolve reads the config on this host, and the helper once more.
            #expect(layers.values.max() ?? 0 <= 2 && layers.values.count { $0 == 2 } <= 1, "\(registry.log)")
        }
    }
}
