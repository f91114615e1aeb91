import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    /// The circle: image → snapshot → registry → another machine → a running machine.
    @Suite(.serialized)
    struct Travels {
        @Test("image, run, push, all local state gone, pull, verify, boot: the command's output")
        func circle() async throws {
            let registry = try await RealRegistry(.password(user: "someone", password: "s3cret word"))
            defer { registry.stop() }
            let layout = try await Images.shared.smallLayout()
            let directory = try makeTemporaryDirectory("credentials")
            let credentials = directory + "/config.json"
            let secret = Data("someone:s3cret word".utf8).base64EncodedString()
            try Data(#"{"auths":{"\#(registry.host)":{"auth":"\#(secret)"}}}"#.utf8)
                .write(to: URL(fileURLWithPath: credentials))
            let reference = "\(registry.host)/acme/rootfs:1"

            var sums: [String] = []
            do {
                let installation = try Installation()
                let run = try await installation.snapwf(
                    "run", "oci:\(layout):latest", "--push", reference, "--creds-file", credentials, "--json")
                try #require(run.status == 0, "\(run.everything)")
                let result = try #require(try run.json()["result"] as? [String: Any])
                sums.append(try #require(result["sha256"] as? String))
                let pushedTo = try #require(result["pushedTo"] as? String)
                #expect(pushedTo.hasPrefix(reference + "@sha256:"))
                // Again: from the catalog, and nothing is sent that is there.
                let again = try await installation.snapwf(
                    "run", "oci:\(layout):latest", "--push", reference, "--creds-file", credentials, "--json")
                #expect((try again.json()["result"] as? [String: Any])?["pushedTo"] as? String == pushedTo)
                try await installation.expectNothingLeft("after runs that push")
                try FileManager.default.removeItem(atPath: installation.home)
            }

            let elsewhere = try Installation(environment: try await Images.shared.machineVariables())
            let pulled = try await elsewhere.snapwf(
                "snapshots", "pull", reference, "--creds-file", credentials, "--name", "travelled", "-q")
            try #require(pulled.status == 0, "\(pulled.everything)")
            let verified = try await elsewhere.snapwf("snapshots", "verify", "travelled")
            #expect(verified.status == 0, "\(verified.everything)")
            let inspected = try await elsewhere.snapwf("snapshots", "inspect", "travelled", "--json")
            #expect(inspected.output.contains(sums[0]), "\(inspected.everything)")
            let booted = try await elsewhere.snapwf("boot", "travelled", "--", "cat", "/etc/motd")
            #expect(booted.output == "This root file system was unpacked by snapwf.\n", "\(booted.everything)")
            try await elsewhere.expectNothingLeft("after a boot")
        }

        @Test("serve makes sandboxes of snapshots, and of images: the circle of the API is closed")
        func served() async throws {
            let registry = try await RealRegistry(.anonymous)
            defer { registry.stop() }
            let layout = try await Images.shared.smallLayout()
            try await registry.push(layout: layout, tag: "latest", to: "acme/small:1")
            let installation = try Installation(environment: try await Images.shared.machineVariables())
            let serve = try await Serve(installation, ["--listen", "unix:" + installation.home + "/socket"])

            let image = "\(registry.host)/acme/small:1"
            let ofImage = try await create(serve, #"{"runtime":{"imageRef":"\#(image)"}}"#)
            #expect(try await run(serve, ofImage, ["cat", "/etc/motd"]).contains("unpacked by snapwf"))

            let plain = try await create(serve, "{}")
            _ = try await run(
                serve, plain, ["sh", "-c", "mkdir -p bin && echo captured > word && cp /usr/bin/busybox bin/"])
            let began = try await call(serve, "SnapshotSandbox", #"{"sandbox":{"id":"\#(plain)"}}"#)
            let snapshot = try #require((began["snapshot"] as? [String: Any])?["snapshotId"] as? String)
            try await eventually("the capture is ready") {
                let now = try await call(serve, "GetSnapshot", #"{"id":"\#(snapshot)"}"#)
                return (now["snapshot"] as? [String: Any])?["status"] as? String == "SNAPSHOT_STATUS_READY"
            }
            let ofSnapshot = try await create(serve, #"{"runtime":{"snapshot":{"id":"\#(snapshot)"}}}"#)
            #expect(try await run(serve, ofSnapshot, ["/bin/busybox", "cat", "/word"]) == "captured\n")

            for id in [ofImage, plain, ofSnapshot] {
                _ = try await call(serve, "KillSandbox", #"{"sandbox":{"id":"\#(id)"}}"#)
            }
            #expect(try await serve.terminate().status == 0)
            try await installation.expectNothingLeft("after sandboxes of snapshots")
        }

        private func create(_ serve: Serve, _ request: String) async throws -> String {
            let made = try await call(serve, "CreateSandbox", request)
            return try #require((made["sandbox"] as? [String: Any])?["sandboxId"] as? String, "\(made)")
        }

        /// By the program's own client: standard output of a command.
        private func run(_ serve: Serve, _ id: String, _ argv: [String]) async throws -> String {
            let words = argv.map { "\"\($0)\"" }
            let body =
                #"{"sandbox":{"id":"\#(id)"},"cmd":\#(words[0]),"args":[\#(words.dropFirst().joined(separator: ","))]}"#
            let script = """
                import base64, json, struct, sys
                data = sys.stdin.buffer.read()
                while data:
                    flags, size = struct.unpack(">BI", data[:5])
                    event = json.loads(data[5:5 + size])
                    data = data[5 + size:]
                    if "error" in event: sys.exit(json.dumps(event))
                    sys.stdout.write(base64.b64decode(event.get("stdout", {}).get("data", "")).decode())
                """
            let pipeline = """
                python3 -c 'import struct,sys; b=sys.argv[1].encode(); sys.stdout.buffer.write(struct.pack(">BI",0,len(b))+b)' "$1" |
                curl -sS --unix-socket "$2" -H 'Content-Type: application/connect+json' -H 'Connect-Protocol-Version: 1' \
                    --data-binary @- http://localhost/depot.sandbox.v1.SandboxService/RunCommand | python3 -c "$3"
                """
            return try await tool("sh", "-c", pipeline, "sh", body, serve.installation.home + "/socket", script).output
        }

        private func call(_ serve: Serve, _ method: String, _ body: String) async throws -> [String: Any] {
            let socket = serve.installation.home + "/socket"
            return try await tool(
                "curl", "-sS", "--unix-socket", socket, "-H", "Content-Type: application/json", "-d", body,
                "http://localhost/depot.sandbox.v1.SandboxService/\(method)"
            ).json()
        }
    }
}
