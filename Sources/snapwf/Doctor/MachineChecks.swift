import Files
import FoundationEssentials
import Glibc
import Sandbox

/// What virtual machines are made of. Only `--sandbox vm`, `--verify-boot` and `snapwf boot` need them, so what is
/// missing is a failure only where it was asked for.
struct MachineChecks: Sendable {
    var kernel: String?
    var qemu: String?
    let agent: String
    /// Whether a guest is what the command asks about.
    let isWanted: Bool

    func run() -> [Finding] {
        let qemu = finding("QEMU", install: "apt-get install qemu-system-x86") { () throws(SandboxError) in
            try VMProvider.qemu(self.qemu)
        }
        let kernel = finding("guest kernel", install: "apt-get install linux-image-cloud-amd64") {
            () throws(SandboxError) in
            let found = try GuestKernel.find(self.kernel)
            return "\(found.path), \(found.release)"
        }
        return [qemu, kernel, agentFinding()]
    }

    private func finding(_ name: String, install: String, _ find: () throws(SandboxError) -> String) -> Finding {
        do {
            return .ok(name, try find())
        } catch {
            return missing(name, error.message, next: install)
        }
    }

    private func agentFinding() -> Finding {
        guard access(agent, R_OK) != 0 else { return .ok("agent", agent) }
        return missing(
            "agent", "the guest's agent is missing: \(agent)", next: SandboxChecks.reinstall(naming: "SNAPWF_AGENT"))
    }

    func missing(_ name: String, _ why: String, next: String) -> Finding {
        isWanted ? .fail(name, why, next: next) : .ok(name, "\(why) (only virtual machines need it)")
    }

    /// Boots a guest with KVM. What that makes goes away with a directory of its own.
    func boot() async throws -> [Finding] {
        let directory = FileManager.default.temporaryDirectory.path + "/snapwf-doctor-\(getpid())"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
        defer { try? FileManager.default.removeItem(atPath: directory) }
        var configuration = VMProvider.Configuration(
            root: directory + "/machines", cache: directory + "/cache", shimCommand: [], agent: agent)
        configuration.kernel = kernel
        configuration.qemu = qemu
        let start = ContinuousClock.now
        do {
            if let trouble = try await VMProvider(configuration: configuration).acceleratorTrouble() {
                return [.warn("boot", trouble, next: "ls -l /dev/kvm && id")]
            }
            return [.ok("boot", "a guest with KVM answered after \(spanText(ContinuousClock.now - start))")]
        } catch {
            return [.fail("boot", "\(error)", next: "mend that, and try again: snapwf doctor --boot")]
        }
    }
}
