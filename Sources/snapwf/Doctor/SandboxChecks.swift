import Files
import Glibc
import HelperInterface
import Sandbox

/// What a run's sandbox is made of.
enum SandboxChecks {
    static func bubblewrap() async -> [Finding] {
        let found: (path: String, version: String)
        do {
            found = try await LocalProvider.bubblewrap()
        } catch {
            return [.fail("bubblewrap", "\(error)", next: "apt-get install bubblewrap")]
        }
        let program = Finding.ok("bubblewrap", "\(found.path), \(found.version)")
        do {
            try await LocalProvider.trySandbox(bubblewrap: found.path)
            return [program, .ok("sandbox", "one can be made, with namespaces of its own")]
        } catch {
            return [program, .fail("sandbox", "\(error)", next: "do that, and try again: snapwf doctor")]
        }
    }

    /// Where this program was built, its sources are; elsewhere it came as a package, with all of its programs.
    static func reinstall(naming variable: String, executable: String? = try? Places.executable()) -> String {
        executable?.contains("/.build/") == true
            ? "make build"
            : "install snapwf's package again, which has all of its programs, or name another: "
                + "\(variable)=/path snapwf doctor"
    }

    static func helper(_ path: String) async -> Finding {
        do {
            return try await onOwnThread { () throws(SandboxError) -> Finding in
                guard access(path, X_OK) == 0 else { return missingHelper(path) }
                let answer = try ProgramAnswer(of: path, ["--version"], patience: .seconds(10))
                return helper(path, status: answer.status, says: answer.text)
            }
        } catch {
            return .fail("helper", "\(path) cannot be run: \(error)", next: reinstall(naming: "SNAPWF_HELPER"))
        }
    }

    private static func missingHelper(_ path: String) -> Finding {
        .fail(
            "helper", "the program snapshot is missing: \(path)",
            next: reinstall(naming: "SNAPWF_HELPER"))
    }

    static func helper(_ path: String, status: Int32, says text: String) -> Finding {
        guard status == 0 else {
            return .fail(
                "helper", "\(path) --version ends with \(status): \(text)", next: reinstall(naming: "SNAPWF_HELPER"))
        }
        let expected = "snapshot \(Version.text) (output format \(SnapshotKey.formatVersion))"
        // What follows tells what it inflates with.
        guard text.hasPrefix(expected) else {
            return .fail(
                "helper", "\(path) is \"\(text)\" and belongs to another snapwf: this one needs \"\(expected)\"",
                next: reinstall(naming: "SNAPWF_HELPER"))
        }
        return .ok("helper", "\(path), \(text)")
    }

    static func kvm() -> Finding {
        let path = "/dev/kvm"
        guard fileExists(path) else { return .ok("KVM", "\(path) is not there; local sandboxes do without it") }
        return .ok(
            "KVM", access(path, R_OK | W_OK) == 0 ? "\(path) can be used" : "\(path) is there, but not for this user")
    }
}
