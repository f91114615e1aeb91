import Foundation
import Glibc
import TestSupport
import Testing

extension EndToEnd {
    /// Runs that are left to workers, on either store.
    @Suite("Queues and workers", .serialized)
    struct Workers {
        enum Kind: String, CaseIterable, CustomTestStringConvertible {
            case sqlite, postgresql

            var testDescription: String { rawValue }
        }

        /// One machine with a store of its kind.
        private struct Machine {
            let installation: Installation
            let store: SharedStore?

            init(_ kind: Kind) async throws {
                store = kind == .postgresql ? try await SharedStore() : nil
                installation = try Installation(environment: store?.environment ?? [:])
            }

            /// Once a lease of a process that was killed has ended: at once.
            func endLeases() async throws { try await store?.run("DELETE FROM leases") }

            func standings() async throws -> [String: String] {
                let listed = try await installation.snapwf("ls", "--json")
                let runs = try #require(try listed.json()["runs"] as? [[String: Any]], "\(listed.everything)")
                return Dictionary(
                    runs.map { ($0["id"] as? String ?? "", $0["status"] as? String ?? "") }, uniquingKeysWith: { $1 })
            }
        }

        private func registry(holding: Bool = false) async throws -> SlowRegistry {
            try await SlowRegistry(layout: try await Images.shared.smallLayout(), holding: holding)
        }

        private func ids(_ finished: Finished) throws -> [String] {
            try #require(finished.status == 0, "\(finished.everything)")
            return finished.output.split(separator: "\n").map(String.init)
        }

        private func begun(_ finished: Finished) -> [String] {
            finished.errors.split(separator: "\n").compactMap { line in
                line.firstMatch(of: /^run (\S+) began/).map { String($0.1) }
            }
        }

        @Test(
            "six requests, two of them the same, are five runs, and two workers execute each once",
            arguments: Kind.allCases)
        func eachOnce(_ kind: Kind) async throws {
            let machine = try await Machine(kind)
            let registry = try await registry()
            var runs: [String] = []
            for size in [64, 65, 66, 67, 68, 64] {
                let arguments = ["submit", "-q", "--size", "\(size)MiB", registry.reference]
                runs += try ids(try await machine.installation.start(arguments).wait())
            }
            #expect(runs.count == 6 && Set(runs).count == 5 && runs.first == runs.last, "\(runs)")
            #expect(Set(try await machine.standings().values) == ["pending"])
            let workers = try (0..<2).map { _ in try machine.installation.start("worker", "--until-idle") }
            var executed: [String] = []
            for worker in workers {
                let finished = try await worker.wait()
                #expect(finished.status == 0, "\(finished.everything)")
                executed += begun(finished)
            }
            #expect(executed.sorted() == Set(runs).sorted(), "each once")
            #expect(Set(try await machine.standings().values) == ["succeeded"])
            try await machine.installation.expectNothingLeft("after two workers")
            let again = try ids(
                try await machine.installation.snapwf("submit", "-q", "--size", "64MiB", registry.reference))
            #expect(!runs.contains(again[0]), "what has ended answers nobody")
            print("workers on \(kind.rawValue): \(runs.count) requests, \(executed.count) executions")
        }

        @Test(
            "a worker that is killed in the middle loses nothing: another makes the same bytes",
            arguments: Kind.allCases)
        func killed(_ kind: Kind) async throws {
            let machine = try await Machine(kind)
            let registry = try await registry(holding: true)
            let run = try ids(try await machine.installation.snapwf("submit", "-q", registry.reference))[0]
            let first = try machine.installation.start("worker")
            try await registry.waitUntilHolding()
            let kept = try await machine.installation.snapwf("gc", "--grace", "0s", "--json").json()
            #expect((kept["items"] as? [Any])?.isEmpty == true, "\(kept)")
            first.signal(SIGKILL)
            try await first.wait()
            try registry.letGo()
            try await machine.endLeases()
            let spared = try await machine.installation.snapwf("gc", "--grace", "0s", "--json").json()
            #expect((spared["items"] as? [Any])?.isEmpty == true, "a worker may come back for it: \(spared)")
            let refused = try await machine.installation.snapwf("resume", run, "--json")
            #expect((try refused.json()["error"] as? [String: Any])?["code"] as? String == "run-queued")
            let second = try await machine.installation.snapwf("worker", "--until-idle")
            #expect(second.status == 0 && begun(second) == [run], "\(second.everything)")
            #expect(try await machine.standings()[run] == "succeeded")
            try await machine.installation.expectNothingLeft("after a killed worker")

            let other = try Installation()
            let alone = try await other.snapwf("run", "--json", registry.reference).json()
            let wanted = (alone["result"] as? [String: Any])?["sha256"] as? String
            let listed = try await machine.installation.snapwf("snapshots", "ls", "--json").json()
            let made = (listed["snapshots"] as? [[String: Any]])?.first?["sha256"] as? String
            #expect(wanted != nil && made == wanted)
        }

        @Test(
            "told to stop, a worker hands over what does not end in time, and lets the rest end",
            arguments: Kind.allCases)
        func drained(_ kind: Kind) async throws {
            let machine = try await Machine(kind)
            let registry = try await registry(holding: true)
            let run = try ids(try await machine.installation.snapwf("submit", "-q", registry.reference))[0]
            let first = try machine.installation.start("worker", "--drain-within", "0s")
            try await registry.waitUntilHolding()
            first.signal(SIGTERM)
            let handed = try await first.wait()
            #expect(handed.status == 0 && handed.errors.contains("run \(run) released"), "\(handed.everything)")
            #expect(try await machine.standings()[run] == "interrupted")
            let listed = try await machine.installation.snapwf("ls", "-q", "--status", "queued")
            #expect(listed.output == run + "\n", "\(listed.everything)")
            let again = try await machine.installation.snapwf("submit", registry.reference)
            #expect(
                again.output.hasPrefix(run) && again.output.contains("asked for before, queued"), "\(again.everything)")
            let second = try machine.installation.start("worker", "--drain-within", "60s")
            try await eventually("it begins") { second.errorsSoFar.contains("run \(run) began") }
            second.signal(SIGTERM)
            try registry.letGo()
            let finished = try await second.wait()
            #expect(finished.status == 0 && finished.errors.contains("run \(run) succeeded"), "\(finished.everything)")
            try await machine.installation.expectNothingLeft("after a drain")
        }

        @Test("a batch with one bad image makes the others, and says what became of each", arguments: Kind.allCases)
        func batch(_ kind: Kind) async throws {
            let machine = try await Machine(kind)
            let registry = try await registry()
            let bad = registry.reference.replacing(":latest", with: ":none")
            let file = machine.installation.home + "-batch"
            defer { try? FileManager.default.removeItem(atPath: file) }
            let text = """
                # three, and one twice
                \(registry.reference)
                {"image": "\(registry.reference)", "size": "64MiB", "label": {"team": "a"}}

                \(bad)
                \(registry.reference)
                """
            try Data(text.utf8).write(to: URL(fileURLWithPath: file))
            let waiting = try machine.installation.start("submit", "--batch", file, "--wait", "--json")
            try await eventually("the batch is recorded") { try await !machine.standings().isEmpty }
            let worker = try await machine.installation.snapwf("worker", "--until-idle")
            #expect(worker.status == 0, "\(worker.everything)")
            let told = try await waiting.wait()
            #expect(told.status == 3, "\(told.everything)")
            let images = try #require(try told.json()["images"] as? [[String: Any]])
            #expect(images.map { $0["status"] as? String } == ["succeeded", "succeeded", "failed"], "\(images)")
            #expect(images.last?["image"] as? String == bad)
            try await machine.installation.expectNothingLeft("after a batch")
            let child = try #require(images.first?["run"] as? String)
            let kept = try await machine.installation.snapwf("rm", child)
            #expect(kept.status != 0 && kept.errors.contains("belongs to batch"), "\(kept.everything)")
        }

        @Test(
            "a worker that is to end when idle waits for no batch whose images are of another queue",
            .timeLimit(.minutes(1)))
        func otherQueue() async throws {
            let machine = try await Machine(.sqlite)
            let registry = try await registry()
            let file = machine.installation.home + "-batch"
            defer { try? FileManager.default.removeItem(atPath: file) }
            try Data("\u{FEFF}\(registry.reference)\n".utf8).write(to: URL(fileURLWithPath: file))
            let batch = try await machine.installation.snapwf("submit", "--batch", file, "--queue", "other", "-q")
            #expect(batch.status == 0, "\(batch.everything)")
            let worker = try await machine.installation.snapwf("worker", "--until-idle")
            #expect(worker.status == 0, "\(worker.everything)")
            let last = try await machine.installation.snapwf("worker", "--until-idle", "--queue", "other")
            #expect(last.status == 0 && last.errors.contains("takes no more runs\n"), "\(last.everything)")
            #expect(last.errors.contains("stopped; 2 runs executed"), "\(last.everything)")
            #expect(try await Set(machine.standings().values) == ["succeeded"])
        }

        @Test("a worker that is to end when idle leaves runs of another version, and says so", .timeLimit(.minutes(1)))
        func otherVersion() async throws {
            let machine = try await Machine(.sqlite)
            let registry = try await registry()
            var ids: [String] = []
            for size in ["64MiB", "65MiB"] {
                ids += try await self.ids(
                    machine.installation.snapwf("submit", "-q", "--size", size, registry.reference))
            }
            try await tool(
                "python3", "-c",
                """
                import sqlite3, sys
                with sqlite3.connect(sys.argv[1]) as database:
                    database.execute("UPDATE runs SET version = 99 WHERE id = ?", sys.argv[2:])
                """, machine.installation.home + "/workflow.db", ids[0])
            let worker = try await machine.installation.snapwf("worker", "--until-idle")
            #expect(worker.status == 0, "\(worker.everything)")
            #expect(worker.errors.contains("queue local holds a run of another version"), "\(worker.everything)")
            #expect(try await machine.standings() == [ids[0]: "pending", ids[1]: "succeeded"])
            let shown = try await machine.installation.snapwf("show", ids[0])
            #expect(shown.output.contains("only that one can go on"), "\(shown.everything)")
            #expect(!shown.output.contains("snapwf worker"), "\(shown.everything)")
            #expect(try await machine.installation.snapwf("cancel", ids[0]).status == 0)
            let last = try await machine.installation.snapwf("worker", "--until-idle")
            #expect(last.status == 0 && !last.errors.contains("another version"), "\(last.everything)")
            #expect(try await machine.standings()[ids[0]] == "cancelled")
        }

        @Test("images of a batch share neither file nor name, and a directory takes a file of each")
        func claims() async throws {
            let installation = try Installation()
            let file = installation.home + "-batch"
            let folder = installation.home + "-out"
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            defer {
                try? FileManager.default.removeItem(atPath: file)
                try? FileManager.default.removeItem(atPath: folder)
            }
            for (lines, why) in [
                (
                    ["a:1", "{\"image\": \"a:1\", \"size\": \"1GiB\"}"],
                    "line 1 would be written to \(folder)/a-1.ext4, too"
                ),
                (
                    ["{\"image\": \"a\", \"name\": \"x\"}", "{\"image\": \"b\", \"name\": \"x\"}"],
                    "line 1 is named x, too"
                ),
            ] {
                try Data(lines.joined(separator: "\n").utf8).write(to: URL(fileURLWithPath: file))
                let refused = try await installation.snapwf("submit", "--batch", file, "-o", folder)
                #expect(
                    refused.status == 64 && refused.errors.contains("line 2 of") && refused.errors.contains(why),
                    "\(refused.everything)")
            }
            try Data("a:1\nb:1\n".utf8).write(to: URL(fileURLWithPath: file))
            let refused = try await installation.snapwf("submit", "--batch", file, "-o", folder + "/one")
            #expect(refused.status == 64 && refused.errors.contains("must be a directory"), "\(refused.everything)")
            let taken = try await installation.snapwf("submit", "--batch", file, "-o", folder)
            #expect(taken.status == 0, "\(taken.everything)")
        }

        @Test("a batch is taken whole or not at all, and the line that is wrong is named")
        func refusedBatch() async throws {
            let installation = try Installation()
            let file = installation.home + "-batch"
            defer { try? FileManager.default.removeItem(atPath: file) }
            for (line, why) in [
                ("{\"image\": \"a\", \"sise\": \"1GiB\"}", "did you mean \"size\"?"),
                ("{\"image\": 3}", "must be a text"),
                ("{\"size\": \"1GiB\"}", "lacks \"image\""), ("{", "no JSON object"), ("two words", "has no spaces"),
                ("{\"image\": \"a\", \"size\": \"much\"}", "is no number of bytes"),
                ("{\"image\": \"a\", \"vcpus\": 0}", "from 1 to 1024"),
            ] {
                try Data("app:1\n\(line)\n".utf8).write(to: URL(fileURLWithPath: file))
                let refused = try await installation.snapwf("submit", "--batch", file)
                #expect(
                    refused.status == 64 && refused.errors.contains("line 2 of \(file): ")
                        && refused.errors.contains(why),
                    "\(line): \(refused.everything)")
            }
            #expect(try await installation.runIDs().isEmpty)
        }

        @Test("what only one machine has is refused where machines share the store, and taken where they do not")
        func travel() async throws {
            let shared = try await Machine(.postgresql)
            let image = "oci:\(try await Images.shared.smallLayout()):latest"
            let registry = try await registry()
            for arguments in [
                [image], ["--creds-file", "/etc/hostname", registry.reference], ["-o", "/tmp/x", registry.reference],
                ["--ca-file", "/etc/hostname", registry.reference], ["--api", "unix:/run/x", registry.reference],
            ] {
                let refused = try await shared.installation.start(["submit"] + arguments).wait()
                #expect(
                    refused.status == 64 && refused.errors.contains("the store is shared by machines"),
                    "\(arguments): \(refused.everything)")
            }
            #expect(try await shared.standings().isEmpty)
            let own = try await Machine(.sqlite)
            #expect(try await own.installation.snapwf("submit", "-q", image).status == 0)
            #expect(try await own.installation.snapwf("worker", "--until-idle").status == 0)
            #expect(try await Array(own.standings().values) == ["succeeded"])
        }

        @Test("a worker whose runs went to another store says that it takes none, and takes them when they are back")
        func movedAway() async throws {
            let machine = try await Machine(.sqlite)
            let registry = try await registry()
            let worker = try machine.installation.start("worker", "--listen", "127.0.0.1:0")
            try await eventually("it is ready") { worker.errorsSoFar.contains("/readyz") }
            let address = try #require(worker.errorsSoFar.firstMatch(of: /http:\S+?(?=\/readyz)/)).0
            let other = machine.installation.home + "/other.db"
            let moved = try await machine.installation.snapwf("store", "copy", "--to", other)
            #expect(moved.status == 0, "\(moved.everything)")
            // Though no run is due.
            try await eventually("it says so") { worker.errorsSoFar.contains("no runs can be taken: the runs of ") }
            #expect(worker.errorsSoFar.contains(other), "\(worker.errorsSoFar)")
            let status = try await tool("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", address + "/readyz")
            #expect(status.output == "503")
            #expect(try await machine.installation.snapwf("store", "reopen").status == 0)
            let submitted = try await machine.installation.snapwf("submit", "-q", registry.reference)
            #expect(submitted.status == 0, "\(submitted.everything)")
            try await eventually("it says that, too") { worker.errorsSoFar.contains("snapwf: takes runs again") }
            try await eventually("the run is made") { worker.errorsSoFar.contains(" succeeded in ") }
            worker.signal(SIGTERM)
            let finished = try await worker.wait()
            #expect(finished.status == 0, "\(finished.everything)")
        }

        @Test(
            "health, readiness and metrics can be asked for, and the metrics are in Prometheus' format",
            arguments: Kind.allCases)
        func pages(_ kind: Kind) async throws {
            let machine = try await Machine(kind)
            let registry = try await registry()
            let worker = try machine.installation.start("worker", "--listen", "127.0.0.1:0", "--json")
            var address = ""
            try await eventually("it is ready") {
                address = worker.outputSoFar.firstMatch(of: /"address":"([^"]+)"/).map { String($0.1) } ?? ""
                return !address.isEmpty
            }
            for page in ["/healthz", "/readyz"] {
                let status = try await tool("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", address + page)
                #expect(status.output == "200", "\(page)")
            }
            for (method, wanted) in [("-I", "200"), ("-XPOST", "405")] {
                let status = try await tool(
                    "curl", "-s", "-m", "10", method, "-o", "/dev/null", "-w", "%{http_code}", address + "/readyz")
                #expect(status.output == wanted, "\(method)")
            }
            let waited = try await machine.installation.snapwf("submit", "--wait", "-q", registry.reference)
            #expect(waited.status == 0 && waited.output.hasPrefix("snap-"), "\(waited.everything)")
            var text = ""
            try await eventually("the run is counted") {
                text = try await tool("curl", "-sf", address + "/metrics").output
                return text.contains("snapwf_runs_total{outcome=\"succeeded\",queue=\"local\"} 1\n")
            }
            let problems = Self.problems(text)
            #expect(problems.isEmpty, "\(problems)")
            for name in [
                "snapwf_queue_depth", "snapwf_queue_foreign", "snapwf_queue_oldest_seconds", "snapwf_runs_working",
                "snapwf_sandboxes_held", "snapwf_leases_lost_total", "snapwf_queue_wait_seconds_bucket",
                "workflow_claim_duration_seconds_bucket",
                "workflow_commit_latency_seconds_bucket", "workflow_run_duration_seconds_bucket",
            ] {
                #expect(text.contains("\n" + name), "\(name) is missing")
            }
            worker.signal(SIGTERM)
            let finished = try await worker.wait()
            #expect(finished.status == 0 && finished.errors.isEmpty, "\(finished.everything)")
            let events = finished.output.split(separator: "\n").compactMap {
                $0.firstMatch(of: /"event":"([a-z]+)"/)?.1
            }
            #expect(events.map(String.init) == ["ready", "began", "ended", "draining", "stopped"])
        }

        /// What the text format 0.0.4 has against a page: each sample belongs to a metric that was described before it, once.
        private static func problems(_ text: String) -> [String] {
            var problems: [String] = []
            var types: [String: Substring] = [:]
            var seen: Set<Substring> = []
            for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
                if let type = line.wholeMatch(of: /# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram)/) {
                    if types.updateValue(type.2, forKey: String(type.1)) != nil { problems.append("twice: \(line)") }
                } else if line.wholeMatch(of: /# HELP [a-zA-Z_:][a-zA-Z0-9_:]* .+/) != nil {
                    continue
                } else if let sample = line.wholeMatch(
                    of:
                        /(([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\.)*"(,[a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\.)*")*\})?) (-?[0-9.]+(e[-+]?[0-9]+)?|\+Inf|-Inf|NaN)/
                ) {
                    let base = String(sample.2).replacing(/_(bucket|sum|count)$/, with: "")
                    if types[String(sample.2)] == nil, types[base] != "histogram" {
                        problems.append("no type: \(line)")
                    }
                    if !seen.insert(sample.1).inserted { problems.append("twice: \(line)") }
                } else {
                    problems.append("unreadable: \(line)")
                }
            }
            if !text.hasSuffix("\n") || types.isEmpty { problems.append("the page is not whole") }
            return problems
        }
    }
}
