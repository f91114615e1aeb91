import Files
import Glibc

/// What the kernel of this host gives, and what this user may use of it.
enum SystemChecks {
    static func run() -> [Finding] {
        [kernel()] + [userNamespaces(.ofThisHost), openFiles()].compactMap { $0 }
    }

    private static func kernel() -> Finding {
        var names = utsname()
        guard uname(&names) == 0 else { return .ok("kernel", "not known: \(String(cString: strerror(errno)))") }
        return .ok("kernel", "Linux \(text(of: names.release)), \(text(of: names.machine))")
    }

    private static func text<Field>(of field: Field) -> String {
        withUnsafeBytes(of: field) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }

    /// The switches by which hosts forbid user namespaces; nil for one that this kernel does not have.
    struct NamespaceSwitches {
        var isRoot: Bool
        /// `user.max_user_namespaces`
        var most: Int?
        /// `kernel.unprivileged_userns_clone`, of Debian's kernels.
        var unprivileged: Int?
        /// `kernel.apparmor_restrict_unprivileged_userns`, of Ubuntu's.
        var appArmor: Int?

        static var ofThisHost: NamespaceSwitches {
            NamespaceSwitches(
                isRoot: geteuid() == 0, most: number("user/max_user_namespaces"),
                unprivileged: number("kernel/unprivileged_userns_clone"),
                appArmor: number("kernel/apparmor_restrict_unprivileged_userns"))
        }

        private static func number(_ name: String) -> Int? {
            let file = open("/proc/sys/" + name, O_RDONLY | O_CLOEXEC)
            guard file >= 0 else { return nil }
            defer { close(file) }
            var bytes = [UInt8](repeating: 0, count: 32)
            let count = read(file, &bytes, bytes.count)
            guard count > 0 else { return nil }
            return Int(String(decoding: bytes[..<count].prefix { $0 != 10 }, as: UTF8.self))
        }
    }

    /// Warnings only: whether a sandbox can be made at all, the check that makes one says.
    static func userNamespaces(_ switches: NamespaceSwitches) -> Finding {
        let name = "user namespaces"
        if switches.most == 0 {
            return .warn(name, "this host allows none", next: "sudo sysctl -w user.max_user_namespaces=15000")
        }
        if !switches.isRoot, switches.unprivileged == 0 {
            return .warn(
                name, "this host allows them to root only", next: "sudo sysctl -w kernel.unprivileged_userns_clone=1")
        }
        if !switches.isRoot, let appArmor = switches.appArmor, appArmor > 0 {
            return .warn(
                name, "AppArmor may forbid them to this user",
                next: "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0")
        }
        return .ok(name, "allowed")
    }

    private static func openFiles() -> Finding? {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return nil }
        return openFiles(soft: UInt64(limit.rlim_cur), hard: UInt64(limit.rlim_max))
    }

    /// A run holds some tens of files open, a server of sandboxes some for each of them.
    static func openFiles(soft: UInt64, hard: UInt64) -> Finding {
        let least: UInt64 = 1024
        guard soft < least else { return .ok("open files", soft > 1 << 40 ? "no limit" : "up to \(soft)") }
        let next =
            hard >= least
            ? "ulimit -n \(least) && snapwf doctor" : "sudo prlimit --pid $$ --nofile=\(least):\(least)"
        return .warn("open files", "only \(soft) at the same time", next: next)
    }
}
