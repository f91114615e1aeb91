import Glibc

/// What a sandbox of namespaces has in its directory:
///
///     etc/      the sandbox's passwd and group
///     work/     seen inside as /work
///     tmp/      seen inside as /tmp
extension SandboxDirectory {
    var workPath: String { path + "/work" }
    var temporaryPath: String { path + "/tmp" }

    func fillForNamespaces() throws(SandboxError) {
        for (name, mode) in [("etc", mode_t(0o755)), ("work", 0o755), ("tmp", 0o1777)] {
            guard mkdir("\(path)/\(name)", 0o700) == 0, chmod("\(path)/\(name)", mode) == 0 else {
                throw .system(errno, "make \(path)/\(name)")
            }
        }
        try SmallFile.replace(path + "/etc/passwd", Array(Self.passwd.utf8), durable: false)
        try SmallFile.replace(path + "/etc/group", Array(Self.group.utf8), durable: false)
        guard chmod(path + "/etc/passwd", 0o644) == 0, chmod(path + "/etc/group", 0o644) == 0 else {
            throw .system(errno, "make \(path)/etc")
        }
    }

    private static var passwd: String {
        let me = "sandbox:x:\(getuid()):\(getgid())::/work:/bin/sh\n"
        return (getuid() == 0 ? "" : me) + "root:x:0:0::/work:/bin/sh\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
    }

    private static var group: String {
        (getgid() == 0 ? "" : "sandbox:x:\(getgid()):\n") + "root:x:0:\nnogroup:x:65534:\n"
    }
}
