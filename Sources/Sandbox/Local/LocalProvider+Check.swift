import Files
import Glibc

extension LocalProvider {
    package func check() async throws {
        try await onOwnThread {
            try sandboxes.check()
            try Self.checkBubblewrap(Bubblewrap.locate(configuration.bubblewrap))
        }
    }

    /// The bubblewrap that sandboxes are made with, and what it says its version is. Makes nothing.
    package static func bubblewrap(
        _ configured: String? = nil
    ) async throws -> (path: String, version: String) {
        try await onOwnThread {
            let path = try Bubblewrap.locate(configured)
            let answer = try ProgramAnswer(of: path, ["--version"], patience: .seconds(10))
            guard answer.status == 0 else {
                throw SandboxError(
                    .missingTool,
                    "\(path) --version ends with \(answer.status) (\(answer.text)); install bubblewrap anew")
            }
            return (path, answer.text)
        }
    }

    /// Shows that a sandbox can be made here: a small one, which ends at once and leaves nothing.
    package static func trySandbox(bubblewrap path: String) async throws {
        try await onOwnThread { try checkBubblewrap(path) }
    }

    private static func checkBubblewrap(_ bubblewrap: String) throws(SandboxError) {
        var status = stat()
        guard stat(bubblewrap, &status) == 0 else { throw .system(errno, "look at \(bubblewrap)") }
        if status.st_mode & S_ISUID != 0 && getuid() != 0 {
            throw SandboxError(
                .notPermitted,
                "\(bubblewrap) is setuid root, and such a one cannot enter a sandbox again; remove the bit "
                    + "(chmod u-s \(bubblewrap)) where user namespaces are allowed, or run as root"
            )
        }
        let answer = try ProgramAnswer(
            of: bubblewrap,
            [getuid() == 0 ? "--unshare-user-try" : "--unshare-user", "--unshare-pid", "--ro-bind", "/usr", "/usr"]
                + ["--ro-bind-try", "/lib", "/lib", "--ro-bind-try", "/lib64", "/lib64", "--proc", "/proc"]
                + ["--", "/usr/bin/env", "true"],
            patience: .seconds(20))
        guard answer.status != 0 else { return }
        throw SandboxError(.notPermitted, advice(complaint: answer.text, setting: setting))
    }

    /// What to do when bubblewrap cannot make namespaces.
    ///
    /// - Parameter setting: the value of a kernel setting below /proc/sys.
    static func advice(complaint: String, setting: (String) -> String?) -> String {
        let start = "bubblewrap cannot make a sandbox here (\(complaint.isEmpty ? "it says nothing" : complaint)): "
        if setting("kernel/unprivileged_userns_clone") == "0" {
            return start
                + "user namespaces are off for ordinary users; as root: sysctl kernel.unprivileged_userns_clone=1"
        }
        if setting("user/max_user_namespaces") == "0" {
            return start + "user namespaces are off; as root: sysctl user.max_user_namespaces=10000"
        }
        if setting("kernel/apparmor_restrict_unprivileged_userns") == "1" {
            return start
                + "AppArmor forbids user namespaces to ordinary programs; as root, install a profile for bwrap (apt-get "
                + "install apparmor-profiles) or: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
        }
        return start + "inside a container, allow user namespaces and mounts to it (for example with docker run "
            + "--security-opt seccomp=unconfined --security-opt systempaths=unconfined), or use another provider"
    }

    private static func setting(_ name: String) -> String? {
        do throws(SandboxError) {
            return try SmallFile.read("/proc/sys/" + name).map { String(decoding: $0, as: UTF8.self).trimmed }
        } catch {
            return nil
        }
    }
}
