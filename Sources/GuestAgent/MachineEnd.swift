import CGuest
import Glibc
import GuestProtocol

/// The machine's end.
enum MachineEnd {
    /// How long processes have to end by themselves, in milliseconds.
    private static let patience: UInt64 = 300
    /// How long the host has to take the last words, and killed processes to be gone.
    private static let lastPatience: UInt64 = 2000

    /// Ends every process, puts the root on disk, tells the host, and ends the machine.
    static func cleanly(_ agent: Agent, request: UInt32) -> Never {
        for (signal, patience) in [(SIGTERM, patience), (SIGKILL, lastPatience)] {
            // To everything but the caller.
            if kill(-1, signal) != 0 { break }
            let end = cguest_uptime() + patience
            while hasChildren() && cguest_uptime() < end { usleep(1000) }
        }
        for path in [
            "/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/dev/shm", "/dev/pts", "/dev", "/sys", "/proc",
        ] {
            cguest_detach(GuestRoot.mountPoint + path)
        }
        agent.releaseRoot()
        if cguest_unmount(GuestRoot.mountPoint) < 0 {
            cguest_mount("", GuestRoot.mountPoint, "", UInt(MS_REMOUNT | MS_RDONLY), "")
        }
        sync()
        agent.port.send(.done, id: request)
        let end = cguest_uptime() + lastPatience
        while agent.port.hasOutgoing && cguest_uptime() < end {
            guard (try? agent.port.flush()) != nil else { break }
            usleep(1000)
        }
        now()
    }

    private static func hasChildren() -> Bool {
        var isSignal: Int32 = 0
        var number: Int32 = 0
        while true {
            let pid = cguest_reap(&isSignal, &number)
            if pid <= 0 { return pid == 0 }
        }
    }

    /// By the switch that ACPI has; a machine without ACPI is restarted, which ends a QEMU that was told -no-reboot.
    static func now() -> Never {
        if access("/sys/firmware/acpi", F_OK) == 0 { cguest_end_machine(1) }
        cguest_end_machine(0)
        // Not even that: a first process that ends is a panic, which the host sees.
        exit(1)
    }
}
