import Foundation
import Testing

extension EndToEnd {
    /// The verbs that only look: they make nothing, change nothing, and are in nobody's way.
    @Suite(.serialized)
    struct Looking {
        @Test("where there is no state, they say that there is no run yet, and make none")
        func emptyHome() async throws {
            let installation = try Installation()
            let home = ["SNAPWF_HOME": installation.home + "/none"]
            let listed = try await installation.snapwf("ls", environment: home)
            #expect(listed.status == 0 && listed.output.isEmpty, "\(listed.everything)")
            #expect(listed.errors.contains("there is no run yet"), "\(listed.everything)")
            let json = try await installation.snapwf("ls", "--json", environment: home)
            #expect((try json.json()["runs"] as? [Any])?.isEmpty == true, "\(json.everything)")
            for arguments in [["show"], ["show", "01abc"], ["resume", "--plan", "@last"]] {
                let child = try Child(Programs.snapwf, arguments, environment: home)
                let refused = try await child.wait()
                #expect(refused.status == 3, "\(refused.everything)")
                #expect(refused.errors.contains("there is no run yet"), "\(refused.everything)")
            }
            let doctor = try await installation.snapwf("doctor", environment: home)
            #expect(doctor.status == 0, "\(doctor.everything)")
            #expect(installation.names(in: "") == [], "something was made")
        }

        @Test("while a run is at work and all commits are held up, ls and show answer, and name its process")
        func running() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            let run = try installation.start("run", registry.reference, "-q")
            try await registry.waitUntilHolding()
            let lock = installation.home + "/workflow.db.commit.lock"
            for verb in [["ls", "--json"], ["show", "--json"], ["resume", "--plan", "@last", "--json"]] {
                let child = try Child(
                    "/usr/bin/env", ["flock", "-x", lock, Programs.snapwf] + verb,
                    environment: ["SNAPWF_HOME": installation.home])
                let answer = try await child.wait()
                #expect(answer.status == 0, "\(verb): \(answer.everything)")
                let document = try answer.json()
                let runs = document["runs"] as? [[String: Any]]
                let shown = try #require(runs?.first ?? document["run"] as? [String: Any])
                #expect(shown["status"] as? String == "running", "\(verb): \(answer.everything)")
                if runs == nil {
                    #expect("\(document["heldBy"] ?? "")".contains("process \(run.pid)"), "\(answer.everything)")
                }
            }
            try registry.letGo()
            let finished = try await run.wait()
            #expect(finished.status == 0, "\(finished.everything)")
            try await installation.expectNothingLeft("after the run")
        }

        @Test("resume --plan of an interrupted run tells what a resume would do, and changes no row and no sandbox")
        func plan() async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            let run = try installation.start("run", registry.reference)
            try await registry.waitUntilHolding()
            run.signal(SIGINT)
            #expect(try await run.wait().status == 75)
            let before = try await rows(installation)
            let sandboxes = installation.names(in: "sandboxes")

            let plan = try await installation.snapwf("resume", "--plan", "@last")
            #expect(plan.status == 0, "\(plan.everything)")
            let lines = plan.output.split(separator: "\n").map(String.init)
            func line(_ name: String) -> String { lines.first { $0.hasPrefix(name + " ") } ?? "no line" }
            #expect(line("status").contains("interrupted"), "\(plan.everything)")
            #expect(line("resolve").hasSuffix("uses its output"), "\(plan.everything)")
            #expect(line("pull").contains("runs it again, attempt 2"), "\(plan.everything)")
            #expect(line("sandbox").contains(try #require(sandboxes.first)), "\(plan.everything)")
            #expect(line("sandbox").hasSuffix("uses it, if it is still alive"), "\(plan.everything)")
            let json = try await installation.snapwf("resume", "--plan", "@last", "--json").json()
            #expect(json["schema"] as? Int == 1 && (json["undecided"] as? [String])?.isEmpty == true)
            let quiet = try await installation.snapwf("resume", "--plan", "@last", "-q")
            #expect(quiet.status == 0 && quiet.output.isEmpty, "\(quiet.everything)")
            #expect(try await rows(installation) == before)
            #expect(installation.names(in: "sandboxes") == sandboxes)

            // As if the pull had declared that nobody can tell whether it happened.
            try await tool("sqlite3", database(installation), "UPDATE steps SET in_doubt = 'ask' WHERE key = 'pull'")
            let held = try await rows(installation)
            let asking = try await installation.snapwf("resume", "--plan", "@last")
            #expect(asking.status == 2, "\(asking.everything)")
            #expect(asking.output.contains("Needs a decision: pull."), "\(asking.everything)")
            let names = try await installation.snapwf("resume", "--plan", "@last", "-q")
            #expect(names.status == 2 && names.output == "pull\n", "\(names.everything)")
            #expect(try await rows(installation) == held)
            try await tool("sqlite3", database(installation), "UPDATE steps SET in_doubt = 'retry' WHERE key = 'pull'")

            try registry.letGo()
            let resumed = try await installation.snapwf("resume", "@last")
            #expect(resumed.status == 0, "\(resumed.everything)")
            let over = try await installation.snapwf("resume", "--plan", "@last")
            #expect(over.status == 1 && over.errors.contains("has already ended (succeeded)"), "\(over.everything)")
            let unknown = try await installation.snapwf("resume", "--plan", "7zzz")
            #expect(unknown.status == 3 && unknown.errors.contains("snapwf ls"), "\(unknown.everything)")
            try await installation.expectNothingLeft("after the resume")
        }

        @Test("config show names the file that a value is from, also for what else only the environment says")
        func sources() async throws {
            let installation = try Installation()
            let file = installation.home + "/config.toml"
            try Data("qemu = \"/opt/qemu\"\nmemory = \"3GiB\"\n".utf8).write(to: URL(fileURLWithPath: file))
            let shown = try await installation.snapwf(
                "config", "show", "qemu", "memory", environment: ["SNAPWF_CONFIG": file])
            let lines = shown.output.split(separator: "\n").dropFirst()
            #expect(shown.status == 0 && lines.count == 2, "\(shown.everything)")
            #expect(lines.allSatisfy { $0.contains(file) }, "\(shown.everything)")
            let overruled = try await installation.snapwf(
                "config", "show", "qemu", environment: ["SNAPWF_CONFIG": file, "SNAPWF_QEMU": "/x"])
            #expect(overruled.output.contains("SNAPWF_QEMU"), "\(overruled.everything)")
        }

        // MARK: - doctor

        @Test("doctor finds a healthy state healthy, line by line, and makes nothing there")
        func healthy() async throws {
            let installation = try Installation()
            try await finishedRun(installation)
            let before = installation.names(in: "").sorted()
            let doctor = try await installation.snapwf("doctor")
            #expect(doctor.status == 0, "\(doctor.everything)")
            let lines = doctor.output.split(separator: "\n").map(String.init)
            #expect(lines.allSatisfy { $0.hasPrefix("ok ") || $0.hasPrefix("warn ") }, "\(doctor.everything)")
            for name in [
                "state directory", "free space", "runs database", "file locks", "catalog", "SQLite", "bubblewrap",
                "sandbox", "helper", "KVM",
            ] {
                #expect(lines.contains { $0.contains("  \(name) ") }, "no line for \(name): \(doctor.everything)")
            }
            let json = try await installation.snapwf("doctor", "--json").json()
            #expect(json["healthy"] as? Bool == true && json["schema"] as? Int == 1)
            #expect(installation.names(in: "").sorted() == before)
            try await installation.expectNothingLeft("after doctor")
        }

        @Test("doctor finds a damaged page and a file that is no database, and says how to move it away")
        func damaged() async throws {
            let installation = try Installation()
            try await finishedRun(installation)
            let page = try await tool(
                "sqlite3", "-readonly", database(installation),
                "SELECT rootpage FROM sqlite_master WHERE name = 'steps'")
            let number = try #require(UInt64(page.output.filter(\.isNumber)))
            // Of the page, then of the file's own heading.
            for offset in [(number - 1) * 4096, 0] {
                let file = try #require(FileHandle(forUpdatingAtPath: database(installation)))
                try file.seek(toOffset: offset)
                try file.write(contentsOf: Data(repeating: 0xA5, count: 64))
                try file.close()
                let doctor = try await installation.snapwf("doctor")
                #expect(doctor.status == 1, "\(doctor.everything)")
                let line = doctor.output.split(separator: "\n").first { $0.contains("  runs database ") } ?? ""
                #expect(line.hasPrefix("FAIL ") && line.contains("damaged"), "\(doctor.everything)")
                #expect(line.contains("next: ") && line.contains("workflow.db*"), "\(doctor.everything)")
            }
        }

        @Test("doctor without bubblewrap, or without its helper, says what to install")
        func missingPrograms() async throws {
            let installation = try Installation()
            let empty = installation.home + "/bin"
            try FileManager.default.createDirectory(atPath: empty, withIntermediateDirectories: false)
            let without = try await installation.snapwf("doctor", environment: ["PATH": empty])
            #expect(without.status == 1, "\(without.everything)")
            #expect(
                without.output.contains("FAIL") && without.output.contains("apt-get install bubblewrap"),
                "\(without.everything)")
            let helper = try await installation.snapwf(
                "doctor", "-q", environment: ["SNAPWF_HELPER": installation.home + "/snapshot"])
            #expect(helper.status == 1, "\(helper.everything)")
            let lines = helper.output.split(separator: "\n").filter { $0.hasPrefix("FAIL") }
            #expect(lines.count == 1 && lines.first?.contains("SNAPWF_HELPER=") == true, "\(helper.everything)")
        }

        private func database(_ installation: Installation) -> String { installation.home + "/workflow.db" }

        private func rows(_ installation: Installation) async throws -> String {
            try await tool("sqlite3", "-readonly", database(installation), ".dump").output
        }

        /// A state that has been used, and has been left alone for an hour.
        private func finishedRun(_ installation: Installation) async throws {
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let run = try await installation.snapwf("run", image, "-q")
            try #require(run.status == 0, "\(run.everything)")
            try await tool("touch", "-d", "1 hour ago", database(installation))
        }
    }
}
