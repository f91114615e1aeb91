import Foundation
import TestSupport
import Testing

extension EndToEnd {
    /// Bad input gets one clear error that names what to do next, the right exit code, and leaves nothing behind.
    @Suite(.serialized)
    struct BadInput {
        @Test("no such layout, no such tag, no such repository")
        func notFound() async throws {
            let layout = try await Images.shared.smallLayout()
            let registry = try await SlowRegistry(layout: layout, holding: false)
            let host = registry.reference.prefix { $0 != "/" }
            try await expectRefusal("oci:/no/such/layout", status: 3, saying: "/no/such/layout")
            try await expectRefusal("oci:\(layout):nope", status: 3, saying: "latest")
            try await expectRefusal("\(host)/test/image:nope", status: 3, saying: "nope")
        }

        @Test("text that is no reference")
        func reference() async throws {
            for text in ["UPPER/case", "", "a b", "image@sha256:12"] {
                try await expectRefusal(text, status: 64, saying: "reference", startsRun: false)
            }
        }

        @Test("wrong credentials")
        func credentials() async throws {
            let registry = try await RealRegistry(.password(user: "a", password: "b"))
            defer { registry.stop() }
            try await expectRefusal("\(registry.host)/some/image:1", status: 4, saying: "docker login")
        }

        @Test("an unreachable registry")
        func unreachable() async throws {
            try await expectRefusal("127.0.0.1:9/some/image:1", status: 6, saying: "127.0.0.1:9")
        }

        @Test("a corrupt layer, and one of an unsupported kind")
        func badLayers() async throws {
            let layout = try await Images.shared.smallLayout()
            let corrupt = try await changed(layout, "corrupt") { layer, _ in
                var bytes = layer
                bytes[bytes.count / 2] ^= 1
                return bytes
            }
            try await expectRefusal("oci:\(corrupt):latest", status: 5, saying: "sha256:")
            let foreign = try await changed(layout, "foreign") { layer, manifest in
                manifest = manifest.replacingOccurrences(of: "layer.v1.tar+gzip", with: "layer.v1.tar+lz4")
                return layer
            }
            try await expectRefusal("oci:\(foreign):latest", status: 5, saying: "lz4")
        }

        @Test("--size too small names the size that is needed; nonsense names the form")
        func size() async throws {
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            try await expectRefusal(image, "--size", "1MiB", status: 5, saying: "--size")
            try await expectRefusal(image, "--size", "big", status: 64, saying: "10GiB", startsRun: false)
            try await expectRefusal(image, "--size", "9TiB", status: 64, saying: "8184GiB", startsRun: false)
        }

        @Test("bubblewrap missing or forbidden")
        func bubblewrap() async throws {
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let directory = try makeTemporaryDirectory("path")
            try await expectRefusal(
                image, status: 6, saying: "apt-get install bubblewrap", environment: ["PATH": directory])
            let forbidden = directory + "/bwrap"
            try Data("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n".utf8)
                .write(to: URL(fileURLWithPath: forbidden))
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: forbidden)
            try await expectRefusal(
                image, status: 6, saying: "namespace", environment: ["PATH": "\(directory):/usr/bin:/bin"])
        }

        @Test("a state directory that cannot be used, and databases of a newer version")
        func state() async throws {
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let file = try makeTemporaryDirectory("file") + "/file"
            try Data().write(to: URL(fileURLWithPath: file))
            let blocked = try await Child(
                Programs.snapwf, ["run", image], environment: ["SNAPWF_HOME": file + "/below"]
            ).wait()
            #expect(blocked.status == 1 && blocked.errors.contains("SNAPWF_HOME"), "\(blocked.everything)")

            let readOnly = try makeTemporaryDirectory("read-only")
            try await tool("mount", "-t", "tmpfs", "-o", "ro", "tmpfs", readOnly)
            let refused = try await Child(
                Programs.snapwf, ["run", image], environment: ["SNAPWF_HOME": readOnly + "/state"]
            ).wait()
            try await tool("umount", readOnly)
            #expect(refused.status == 1 && refused.errors.contains("Read-only"), "\(refused.everything)")
            #expect(refused.errors.contains("SNAPWF_HOME"), "\(refused.everything)")

            for (database, table) in [("workflow.db", "workflow_migrations"), ("catalog.db", "grdb_migrations")] {
                let installation = try Installation()
                try await installation.snapwf("gc")
                try await tool(
                    "python3", "-c",
                    """
                    import sqlite3, sys
                    with sqlite3.connect(sys.argv[1]) as database:
                        database.execute(f"INSERT INTO {sys.argv[2]} (identifier) VALUES ('v9999_future')")
                    """, installation.home + "/" + database, table)
                let refused = try await installation.snapwf("run", image)
                #expect(refused.status == 1, "\(refused.everything)")
                #expect(refused.errors.contains("newer"), "\(refused.everything)")
                let doctor = try await installation.snapwf("doctor", "-q")
                #expect(doctor.status == 1 && doctor.output.contains("newer"), "\(doctor.everything)")
            }
        }

        @Test("a full disk: the error says so and what to do, and the run goes on when there is room")
        func fullDisk() async throws {
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let directory = try makeTemporaryDirectory("disk")
            // Room for the helper and little else.
            let attributes = try FileManager.default.attributesOfItem(atPath: Programs.snapshot)
            let room = try #require(attributes[.size] as? Int) + 2 << 20
            try await tool("mount", "-t", "tmpfs", "-o", "size=\(room)", "tmpfs", directory)
            let home = directory + "/state"
            let environment = ["SNAPWF_HOME": home]
            let full = try await Child(Programs.snapwf, ["run", image], environment: environment).wait()
            #expect(full.status == 1, "\(full.everything)")
            #expect(full.errors.contains("disk is full") || full.errors.contains("No space"), "\(full.everything)")
            let sandboxes = (try? FileManager.default.contentsOfDirectory(atPath: home + "/sandboxes")) ?? []
            #expect(sandboxes.isEmpty, "left: \(sandboxes)")
            try await tool("mount", "-o", "remount,size=300m", directory)
            let again = try await Child(Programs.snapwf, ["run", image], environment: environment).wait()
            #expect(again.status == 0, "\(again.everything)")
            try await tool("umount", directory)
        }

        @Test("a helper that does not start, and one that always dies")
        func helper() async throws {
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let directory = try makeTemporaryDirectory("helper")
            for (name, script, said) in [
                ("broken", "exit 3", "does not start"),
                ("dying", "[ \"$1\" = --version ] && exit 0; kill -9 $$", "signal 9"),
            ] {
                let path = directory + "/" + name
                try Data("#!/bin/sh\n\(script)\n".utf8).write(to: URL(fileURLWithPath: path))
                try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: path)
                try await expectRefusal(image, status: 1, saying: said, environment: ["SNAPWF_HELPER": path])
            }
        }

        @Test("resume and show of what does not exist, and nonsense on the command line")
        func unknown() async throws {
            let installation = try Installation()
            for verb in ["resume", "show"] {
                let unknown = try await installation.snapwf(verb, "01nosuchrun")
                #expect(unknown.status == 3 && unknown.errors.contains("snapwf ls"), "\(unknown.everything)")
                let none = try await installation.snapwf(verb, "@last")
                #expect(none.status == 3 && none.errors.contains("snapwf run"), "\(none.everything)")
            }
            for arguments in [
                ["frobnicate"], ["run"], ["run", "--nonsense", "x"], ["gc", "--grace", "soon"],
                ["run", "--vcpus", "0", "x"],
                ["run", "--vcpus", "-1", "x"], ["run", "--ttl", "29s", "x"],
            ] {
                let refused = try await Child(
                    Programs.snapwf, arguments, environment: ["SNAPWF_HOME": installation.home]
                ).wait()
                #expect(refused.status == 64, "\(arguments): \(refused.everything)")
            }
        }

        // MARK: -

        /// One run that must fail with this exit code and these words, in text and in JSON, and leave nothing.
        private func expectRefusal(
            _ image: String, _ arguments: String..., status: Int32, saying words: String, startsRun: Bool = true,
            environment: [String: String] = [:], sourceLocation: SourceLocation = #_sourceLocation
        ) async throws {
            let installation = try Installation()
            let all = ["run", image] + arguments
            let refused = try await Child(
                Programs.snapwf, all, environment: environment.merging(["SNAPWF_HOME": installation.home]) { $1 }
            ).wait()
            #expect(refused.status == status, "\(refused.everything)", sourceLocation: sourceLocation)
            #expect(refused.errors.contains(words), "\(refused.everything)", sourceLocation: sourceLocation)
            #expect(!refused.errors.contains("Error("), "\(refused.everything)", sourceLocation: sourceLocation)
            #expect(refused.output.isEmpty, "\(refused.everything)", sourceLocation: sourceLocation)
            try await installation.expectNothingLeft("after \(all)", sourceLocation: sourceLocation)
            #expect(installation.names(in: "snapshots").isEmpty, sourceLocation: sourceLocation)
            let runs = try await installation.runIDs()
            #expect(runs.isEmpty != startsRun, sourceLocation: sourceLocation)
        }

        /// A copy of a layout whose lowest layer was changed; digests of the documents above it are made right again.
        private func changed(
            _ layout: String, _ name: String, _ change: (Data, inout String) -> Data
        ) async throws -> String {
            let copy = try makeTemporaryDirectory(name) + "/layout"
            try FileManager.default.copyItem(atPath: layout, toPath: copy)
            func blob(_ digest: String) -> String { copy + "/blobs/sha256/" + digest.dropFirst(7) }
            var index = try String(contentsOfFile: copy + "/index.json", encoding: .utf8)
            let manifestDigest = try #require(index.firstMatch(of: /sha256:[0-9a-f]{64}/)?.output)
            var manifest = try String(contentsOfFile: blob(String(manifestDigest)), encoding: .utf8)
            let layers = manifest.matches(of: /sha256:[0-9a-f]{64}/).map { String($0.output) }
            let layer = blob(layers[1])
            try change(Data(contentsOf: URL(fileURLWithPath: layer)), &manifest).write(to: URL(fileURLWithPath: layer))
            try Data(manifest.utf8).write(to: URL(fileURLWithPath: copy + "/manifest"))
            let sum = try await tool("sha256sum", copy + "/manifest").output.prefix(64)
            try await tool("mv", copy + "/manifest", copy + "/blobs/sha256/" + sum)
            index = index.replacingOccurrences(of: manifestDigest, with: "sha256:" + sum)
            index = index.replacing(/"size":[0-9]+/, with: "\"size\":\(manifest.utf8.count)")
            try Data(index.utf8).write(to: URL(fileURLWithPath: copy + "/index.json"))
            return copy
        }
    }
}
