import Foundation
import Testing

extension EndToEnd {
    /// Other processes than snapwf die in the middle of the pull, and snapwf finds its way by itself.
    @Suite(.serialized)
    struct Deaths {
        @Test("the helper killed in the middle of the pull: the run starts it again, in the same sandbox")
        func helper() async throws {
            try await survive("the helper", killing: { $0.contains("/work/bin/snapshot pull") }, sandboxes: 1)
        }

        @Test("everything of the pull killed, its shell too: the command counts as lost and is started again")
        func wholeCommand() async throws {
            try await survive(
                "the whole command",
                killing: { $0.contains("/work/bin/snapshot pull") || $0.contains("run.sh") }, sandboxes: 1)
        }

        @Test("the sandbox's shim killed in the middle of the pull: the run goes on in a second sandbox")
        func shim() async throws {
            try await survive("the shim", killing: { $0.contains("sandbox-shim") }, sandboxes: 2)
        }

        private func survive(
            _ what: String, killing isVictim: @Sendable (String) -> Bool, sandboxes: Int
        ) async throws {
            let registry = try await SlowRegistry(layout: try await Images.shared.smallLayout())
            let installation = try Installation()
            let run = try installation.start("run", registry.reference, "--json")
            try await registry.waitUntilHolding()
            let before = try await installation.sandboxes()
            let victims = allProcesses().filter { isVictim($0.line) && belongs($0.pid, to: installation) }
            try #require(!victims.isEmpty, "no process of \(what) was found")
            for victim in victims { kill(victim.pid, SIGKILL) }
            print("killed \(victims.count) of \(what)")
            try registry.letGo()
            let finished = try await run.wait()
            #expect(finished.status == 0, "\(finished.everything)")
            let after = try await installation.sandboxes()
            #expect(after.count == sandboxes && after.first == before.first, "\(before) became \(after)")
            try await installation.expectNothingLeft("after \(what) died")
        }

        private func allProcesses() -> [(pid: pid_t, line: String)] {
            let all = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
            return all.compactMap { pid_t($0) }.map { ($0, Installation.commandLine(of: $0)) }
        }

        /// Inside its sandbox a process no longer names the state directory, but it lives among its mounts.
        private func belongs(_ pid: pid_t, to installation: Installation) -> Bool {
            if Installation.commandLine(of: pid).contains(installation.home) { return true }
            return kernelFile("/proc/\(pid)/mountinfo").contains(installation.home)
        }
    }
}
