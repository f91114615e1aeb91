import CLinux
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

/// What a guest's machine is.
enum GuestMachine: String, Hashable, Sendable {
    /// Without buses or firmware to speak of: it starts sooner.
    case microvm
    /// A whole PC, where QEMU was built without the other.
    case q35

    /// The module for the bus on which the guest finds its devices.
    var busModule: String { self == .microvm ? "virtio_mmio" : "virtio_pci" }
}

/// The arguments for QEMU.
struct QEMUCommand: Sendable {
    /// What the child's descriptors are; see ``arguments``.
    enum Channel: Int32 {
        case agent = 3
        case console = 4
    }

    var program: String
    var machine: GuestMachine
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
        var list = ["-name", "snapwf", "-accel", accelerator.rawValue, "-cpu", accelerator == .kvm ? "host" : "max"]
        switch machine {
        // The guest's virtual clock is the one that it has; it is set by this host's at the start.
        case .microvm: list += ["-machine", "microvm,rtc=on", "-global", "virtio-mmio.force-legacy=false"]
        case .q35: list += ["-machine", "q35,usb=off,graphics=off"]
        }
        list += ["-smp", "\(vcpus)", "-m", "\(memoryBytes >> 20)M"]
        list += ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none"]
        list += ["-kernel", Self.escaped(kernel), "-initrd", Self.escaped(initramfs)]
        list += ["-append", kernelArguments]
        list += ["-chardev", "socket,id=console,fd=\(Channel.console.rawValue)", "-serial", "chardev:console"]
        list += ["-chardev", "socket,id=agent,fd=\(Channel.agent.rawValue)", "-device", device("virtio-serial")]
        list += ["-device", "virtserialport,chardev=agent,name=snapwf.agent"]
        list += [
            "-object", "rng-random,id=entropy,filename=/dev/urandom", "-device", device("virtio-rng") + ",rng=entropy",
        ]
        if let disk {
            // What is written ends with the sandbox, so nothing of it need survive this host: no flush reaches the disk.
            list += [
                "-drive",
                "id=root,file=\(Self.escaped(disk)),format=qcow2,if=none,cache=unsafe,aio=threads,discard=unmap",
                "-device", device("virtio-blk") + ",drive=root,serial=root",
            ]
        }
        if network == .user {
            let rom = machine == .q35 ? ",romfile=" : ""
            list += ["-netdev", "user,id=net", "-device", device("virtio-net") + ",netdev=net" + rom]
        }
        return list + ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    }

    private func device(_ kind: String) -> String {
        kind + (machine == .microvm ? "-device" : "-pci")
    }

    private var kernelArguments: String {
        // A triple fault ends a machine that has neither firmware nor ACPI to ask; `-no-reboot` makes it QEMU's end.
        var words = ["console=ttyS0", "panic=-1", "quiet", "loglevel=4", "reboot=t"]
        // Emulated, the counter ticks as the host's does. The kernel would measure it against a timer that a busy host
        // serves late; it then refuses the counter, and a microvm has no other clock: it hangs before its first word.
        if accelerator == .tcg {
            let frequency = clinux_tsc_khz()
            if frequency > 0 { words.append("tsc_early_khz=\(frequency)") }
        }
        return words.joined(separator: " ")
    }

    /// A comma in an option's value is written twice.
    private static func escaped(_ path: String) -> String {
        path.replacing(",", with: ",,")
    }

    /// What this QEMU can be; asked once for each state of the program.
    static func machine(of program: String, cache: String) throws(SandboxError) -> GuestMachine {
        let path = "\(cache)/machine-\(stableHash(try FileMark(program).description))"
        if let known = try SmallFile.read(path).flatMap({ GuestMachine(rawValue: String(decoding: $0, as: UTF8.self)) })
        {
            return known
        }
        let answer = try ProgramAnswer(of: program, ["-machine", "microvm,help"], patience: .seconds(20))
        // For a machine that it does not know it lists the others and is content.
        let machine = answer.text.hasPrefix("microvm-machine options") ? GuestMachine.microvm : .q35
        try SmallFile.replace(path, Array(machine.rawValue.utf8), durable: false)
        return machine
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
