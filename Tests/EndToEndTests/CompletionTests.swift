import Foundation
import Testing

extension EndToEnd {
    /// What Tab does: in real shells, at a terminal (Fixtures/press-tab).
    @Suite(.serialized)
    struct Completion {
        private static let shells = ["bash", "zsh", "fish"]

        /// Types a line and Tab. With `words`, what the shell then offers, else the line as the shell completed it.
        private func press(
            _ shell: String, _ line: String, _ words: [String] = [], in installation: Installation
        ) async throws -> String {
            let script = try makeTemporaryDirectory("completion") + "/script"
            let printed = try await installation.snapwf("completions", shell)
            try #require(printed.status == 0, "\(printed.everything)")
            try printed.output.write(toFile: script, atomically: false, encoding: .utf8)
            let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
            let pressed = try await Child(
                Programs.fixture("press-tab"), [shell, script, line] + words,
                environment: ["SNAPWF_HOME": installation.home, "PATH": Programs.directory + ":" + path]
            ).wait()
            #expect(pressed.status == 0, "\(shell): \(line): \(pressed.everything)")
            return pressed.output.trimmingCharacters(in: .whitespacesAndNewlines)
        }

        @Test("verbs, flags, values, runs and snapshots are completed", arguments: shells)
        func completes(_ shell: String) async throws {
            let installation = try Installation()
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let snapshot = try await installation.snapwf("run", "-q", "--name", "base:1.2", image)
                .output.trimmingCharacters(in: .newlines)
            let run = try #require(try await installation.runIDs().first)
            for (typed, whole) in [
                ("snapwf snapshots verif", "snapwf snapshots verify"),
                ("snapwf ls --stat", "snapwf ls --status"),
                ("snapwf run --sandbox dep", "snapwf run --sandbox depot"),
                ("snapwf show \(run.prefix(12))", "snapwf show \(run)"),
                ("snapwf boot \(snapshot.prefix(8))", "snapwf boot \(snapshot)"),
            ] {
                #expect(try await press(shell, typed, in: installation) == whole, "\(shell)")
            }
            let offered = try await press(shell, "snapwf show ", [run, "@last"], in: installation)
            // bash shows no descriptions.
            #expect(offered.contains("succeeded, oci:") == (shell != "bash"), "\(offered)")
            if shell != "bash" {
                _ = try await press(shell, "snapwf snapshots inspect ", [snapshot, "base:1.2"], in: installation)
            }
        }

        @Test("resume offers what was interrupted and not what has ended", arguments: shells)
        func resumable(_ shell: String) async throws {
            let installation = try Installation()
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            #expect(try await installation.snapwf("run", "-q", image).status == 0)
            let ended = try #require(try await installation.runIDs().first)
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let run = try installation.start("run", "--force", registry.reference)
            try await registry.waitUntilHolding()
            run.signal(SIGINT)
            #expect(try await run.wait().status == 75)
            let interrupted = try #require(try await installation.runIDs().first)
            let offered = try await press(shell, "snapwf resume ", [interrupted, "@last"], in: installation)
            #expect(!offered.contains(ended), "\(offered)")
            try registry.letGo()
            let cancelled = try await installation.snapwf("cancel", interrupted)
            #expect(cancelled.status == 0, "\(cancelled.everything)")
            try await installation.expectNothingLeft("after completions")
        }

        @Test("what cannot be answered is answered with nothing, and makes nothing")
        func silent() async throws {
            let installation = try Installation()
            let home = installation.home + "/none"
            let file = installation.home + "/file"
            try "no database".write(toFile: file, atomically: false, encoding: .utf8)
            let damaged = installation.home + "/damaged"
            try FileManager.default.createDirectory(atPath: damaged, withIntermediateDirectories: false)
            for name in ["workflow.db", "catalog.db"] {
                try "no database, but of some length".write(
                    toFile: damaged + "/" + name, atomically: false, encoding: .utf8)
            }
            for state in [home, file, damaged] {
                for request in [
                    [], ["nonsense"], ["show"], ["show", "--", "positional@9", "2", "0", "snapwf", "show", ""],
                    ["show", "--", "positional@0", "2", "0", "snapwf", "show", ""],
                    ["resume", "--", "positional@0", "2", "0", "snapwf", "resume", "@"],
                    ["boot", "--", "positional@0", "2", "0", "snapwf", "boot", ""],
                ] {
                    let answer = try await Child(
                        Programs.snapwf, ["---completion"] + request,
                        environment: ["SNAPWF_HOME": state, "SAP_SHELL": "bash", "SAP_SHELL_VERSION": "5.2"]
                    ).wait()
                    let said = answer.output.trimmingCharacters(in: .whitespacesAndNewlines)
                    #expect(
                        answer.status == 0 && said.isEmpty && answer.errors.isEmpty, "\(request): \(answer.everything)")
                }
            }
            #expect(!FileManager.default.fileExists(atPath: home))
            #expect(installation.names(in: "damaged").sorted() == ["catalog.db", "workflow.db"])
        }
    }
}
