import Glibc

/// What accelerates a guest.
package enum Accelerator: String, Hashable, Sendable {
    case kvm
    /// Emulation: slow, and always possible.
    case tcg
}

/// What a guest's network reaches.
package enum GuestNetwork: String, Hashable, Sendable {
    /// Nothing.
    case none
    /// Whatever this host reaches, through QEMU's user network, which needs no rights: the guest is 10.0.2.15, and
    /// 10.0.2.2 is this host's own loopback with all its services.
    case user
}

/// The arguments for QEMU.
struct QEMUCommand: Sendable {
    /// What the child's descriptors are; see ``arguments``.
    enum Channel: Int32 {
        case agent = 3
        case console = 4
    }

    var program: String
    var accelerator: Accelerator
    var kernel: String
    var initramfs: String
    var vcpus: Int
    var memoryBytes: UInt64
    /// `nil`: a guest without a disk, of which only the agent is wanted.
    var disk: String?
    var network: GuestNetwork

    /// The guest's console, agent and disk; everything else that a machine may have is left out.
    ///
    /// Descriptor 3 is a connected socket for the agent, 4 one for the console.
    var arguments: [String] {
        var list = ["-name", "snapwf", "-machine", "q35,usb=off,graphics=off,hpet=off", "-accel", accelerator.rawValue]
        list += ["-cpu", accelerator == .kvm ? "host" : "max"]
        list += ["-smp", "\(vcpus)", "-m", "\(memoryBytes >> 20)M"]
        list += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none"]
        list += ["-kernel", Self.escaped(kernel), "-initrd", Self.escaped(initramfs)]
        list += ["-append", "console=ttyS0 panic=-1 quiet loglevel=4"]
        list += ["-chardev", "socket,id=console,fd=\(Channel.console.rawValue)", "-serial", "chardev:console"]
        list += ["-chardev", "socket,id=agent,fd=\(Channel.agent.rawValue)", "-device", "virtio-serial-pci"]
        list += ["-device", "virtserialport,chardev=agent,name=snapwf.agent"]
        list += ["-object", "rng-random,id=entropy,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=entropy"]
        if let disk {
            // What is written ends with the sandbox, so nothing of it need survive this host: no flush reaches the disk.
            list += [
                "-drive",
                "id=root,file=\(Self.escaped(disk)),format=qcow2,if=none,cache=unsafe,aio=threads,discard=unmap",
                "-device", "virtio-blk-pci,drive=root,serial=root",
            ]
        }
        if network == .user {
            list += ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]
        }
        return list + ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    }

    /// A comma in an option's value is written twice.
    private static func escaped(_ path: String) -> String {
        path.replacing(",", with: ",,")
    }

    /// The program that was named, or `qemu-system-x86_64` in `PATH`.
    static func locate(_ named: String?) throws(SandboxError) -> String {
        #if arch(x86_64)
            let program = "qemu-system-x86_64"
        #else
            throw SandboxError(.incompatible, "the provider vm works on x86-64 only; use another provider")
        #endif
        if let named {
            guard named.hasPrefix("/"), access(named, X_OK) == 0 else {
                throw SandboxError(
                    .missingTool, "\(named) is no program that can be run; name QEMU by its absolute path")
            }
            return named
        }
        let directories = getenv("PATH").map { String(cString: $0) } ?? "/usr/local/bin:/usr/bin:/bin"
        for directory in directories.split(separator: ":") where directory.hasPrefix("/") {
            let path = "\(directory)/\(program)"
            if access(path, X_OK) == 0 { return path }
        }
        throw SandboxError(
            .missingTool, "QEMU is missing: there is no \(program) in PATH; apt-get install qemu-system-x86")
    }
}
