import Glibc

/// How a sandbox's processes see the world: the arguments for bwrap(1), the same for its init and every command.
struct Bubblewrap: Sendable {
    let directory: SandboxDirectory
    let inputs: [ReadOnlyInput]

    /// Files of /etc that name resolution, TLS and the dynamic linker need. Nothing with private keys in it:
    /// /etc/ssl/private and /etc/pki/tls/private stay out.
    private static let systemFiles = [
        "alternatives", "ca-certificates", "ca-certificates.conf", "crypto-policies", "gai.conf", "host.conf", "hosts",
        "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "nsswitch.conf", "os-release", "pki/ca-trust",
        "pki/tls/cert.pem", "pki/tls/certs", "protocols", "resolv.conf", "services", "ssl/cert.pem", "ssl/certs",
        "ssl/openssl.cnf",
    ]

    /// Settings of the whole machine. Who owns them is asked of the user outside, so the sandbox of root could write
    /// /proc/sys/kernel/core_pattern without any capability; bwrap itself covers only some of them.
    private static let readOnlyProc = ["acpi", "asound", "driver", "fs", "mtrr", "scsi", "sys", "sysrq-trigger"]

    /// Places that the sandbox fills itself; an input can be neither there nor around them.
    private static let reserved = [
        "/bin", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/sbin", "/tmp", "/usr", "/work",
    ]

    /// The file system: the host's /usr, /work and /tmp of the sandbox, the inputs, and nothing else.
    var fileSystem: [String] {
        var arguments = ["--ro-bind", "/usr", "/usr"]
        for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
            guard let status = linkStatus("/" + name) else { continue }
            if status.isSymbolicLink, let target = linkTarget("/" + name) {
                arguments += ["--symlink", target, "/" + name]
            } else if status.isDirectory {
                arguments += ["--ro-bind", "/" + name, "/" + name]
            }
        }
        arguments += ["--proc", "/proc", "--dev", "/dev"]
        for name in Self.readOnlyProc { arguments += ["--ro-bind-try", "/proc/" + name, "/proc/" + name] }
        for name in ["/etc", "/etc/ssl", "/var", "/run"] { arguments += ["--dir", name] }
        for name in Self.systemFiles { arguments += ["--ro-bind-try", "/etc/" + name, "/etc/" + name] }
        arguments += ["--ro-bind", directory.path + "/etc/passwd", "/etc/passwd"]
        arguments += ["--ro-bind", directory.path + "/etc/group", "/etc/group"]
        arguments += ["--bind", directory.workPath, "/work", "--bind", directory.temporaryPath, "/tmp"]
        arguments += ["--symlink", "../tmp", "/var/tmp"]
        for input in inputs { arguments += ["--ro-bind", input.hostPath, input.guestPath] }
        return arguments + ["--remount-ro", "/"]
    }

    private static let environment = [
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/work",
        "TMPDIR": "/tmp",
        "LANG": "C.UTF-8",
    ]

    private static func environmentArguments(_ added: [String: String]) -> [String] {
        let merged = environment.merging(added) { $1 }.sorted { $0.key < $1.key }
        return ["--clearenv"] + merged.flatMap { ["--setenv", $0.key, $0.value] }
    }

    /// Options for the sandbox's init. It ends with the shim because the ``holder`` sees the end of its input, at
    /// whatever moment that comes. Not by `--die-with-parent`: when bwrap dies before it has told its child to go on,
    /// the child waits for ever (`child_wait_fd` in bubblewrap.c). For the same reason nothing that bwrap writes to in
    /// that time may be a pipe of the shim.
    func initOptions(statusDescriptor: Int32) -> [String] {
        // Root needs no user namespace, but takes one where it may: there its capabilities mean nothing outside.
        [getuid() == 0 ? "--unshare-user-try" : "--unshare-user"]
            + ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try", "--hostname", "sandbox"]
            + ["--cap-drop", "ALL", "--new-session", "--json-status-fd", "\(statusDescriptor)"]
            + fileSystem + Self.environmentArguments([:]) + ["--chdir", "/work"]
    }

    /// What the init runs: it says when everything is in place, and waits for the end of its input. Killed from
    /// inside, it ends bwrap, which the shim sees; stopped from inside while the shim is killed from outside, it leaves
    /// the sandbox to the next sweep.
    static let holder = ["/bin/sh", "-c", "echo up; read -r line; kill -KILL -1"]

    /// Options for a command beside the init. A command never outlives the thread that waits for it; what it
    /// puts into a session of its own does.
    ///
    /// - Parameter gateDescriptor: the command begins when something can be read from it: see ``CommandLoop``.
    func commandOptions(
        _ command: ShortCommand, namespaces: [String], statusDescriptor: Int32, gateDescriptor: Int32
    ) -> [String] {
        namespaces + ["--unshare-ipc", "--unshare-uts", "--hostname", "sandbox"]
            + ["--cap-drop", "ALL", "--die-with-parent", "--new-session"]
            + ["--json-status-fd", "\(statusDescriptor)", "--block-fd", "\(gateDescriptor)"]
            + fileSystem + Self.environmentArguments(command.environment)
            + ["--chdir", command.workingDirectory ?? "/work"]
    }

    /// The options in an anonymous file, for `--args`: neither paths nor the environment are on the command line.
    static func optionFile(_ options: [String]) throws(SandboxError) -> Descriptor {
        guard !options.contains(where: { $0.utf8.contains(0) }) else {
            throw SandboxError(.invalidArgument, "a path or an environment variable holds a zero byte")
        }
        let file = try Descriptor.memoryFile()
        try SmallFile.write(file, options.flatMap { Array($0.utf8) + [0] }, path: "a file in memory")
        guard lseek(file.raw, 0, SEEK_SET) == 0 else { throw .system(errno, "rewind a file in memory") }
        return file
    }

    static func validate(_ inputs: [ReadOnlyInput]) throws(SandboxError) {
        for input in inputs {
            let parts = input.guestPath.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
            let isPlain = !parts.isEmpty && !parts.contains { ["", ".", ".."].contains($0) }
            guard input.guestPath.hasPrefix("/"), isPlain else {
                throw SandboxError(.invalidArgument, "input path \(input.guestPath) is not a plain absolute path")
            }
            let clash = reserved.first { input.guestPath == $0 || input.guestPath.hasPrefix($0 + "/") }
            if let clash {
                throw SandboxError(
                    .invalidArgument, "an input cannot be at \(input.guestPath): \(clash) is the sandbox's own"
                )
            }
            guard input.hostPath.hasPrefix("/"), access(input.hostPath, R_OK) == 0 else {
                throw SandboxError(.invalidArgument, "input \(input.hostPath) is not there or not readable")
            }
        }
    }

    /// The program: the one configured, else the first in `PATH`.
    static func locate(_ configured: String?) throws(SandboxError) -> String {
        if let configured {
            guard access(configured, X_OK) == 0 else {
                throw SandboxError(.missingTool, "\(configured) is not an executable; correct the bubblewrap path")
            }
            return configured
        }
        let path = getenv("PATH").map { String(cString: $0) } ?? "/usr/local/bin:/usr/bin:/bin"
        for folder in path.split(separator: ":") where folder.hasPrefix("/") {
            if access("\(folder)/bwrap", X_OK) == 0 { return "\(folder)/bwrap" }
        }
        throw SandboxError(
            .missingTool,
            "local sandboxes need bubblewrap (bwrap) and it is not in PATH; install it (apt-get install bubblewrap)"
        )
    }
}

private func linkTarget(_ path: String) -> String? {
    var buffer = [CChar](repeating: 0, count: 4096)
    let count = readlink(path, &buffer, buffer.count)
    return count > 0 ? String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self) : nil
}
