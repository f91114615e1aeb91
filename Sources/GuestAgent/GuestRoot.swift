import CGuest
import Glibc
import GuestProtocol

/// The mounted root file system, with what a program expects to find in it.
struct GuestRoot {
    static let mountPoint = "/root"

    let configuration: GuestConfiguration
    let descriptor: Descriptor
    /// `cgroup.procs` of the group that all commands are in; `nil` when the kernel has no such groups.
    let cgroup: Descriptor?
    /// What could not be made and is not needed, a line each; for the console.
    private(set) var notes: [String] = []

    /// Mounts and sets up everything.
    ///
    /// - Throws: code `root`: nothing is mounted then; code `setup`: it is, and the machine is of no use.
    init(_ configuration: GuestConfiguration) throws(GuestFailure) {
        guard !configuration.disk.isEmpty, !configuration.disk.contains("/") else {
            throw GuestFailure(.root, "\"\(configuration.disk)\" is no name of a disk below /dev, such as vda")
        }
        let device = "/dev/\(configuration.disk)"
        try Self.awaitDevice(device)
        do throws(SystemError) {
            descriptor = try Self.mount(device, configuration)
        } catch {
            throw error.failure(.root)
        }
        self.configuration = configuration
        cgroup = CommandGroup.make()
        if cgroup == nil { notes.append("commands are not bounded: the kernel has no cgroup for them") }
        do throws(SystemError) {
            try mountSystems()
            if !configuration.isReadOnly { try makeDirectories() }
            try setNames()
        } catch {
            throw error.failure(.setup)
        }
    }

    /// Disks are looked for by the kernel, beside everything else.
    private static func awaitDevice(_ device: String) throws(GuestFailure) {
        let end = cguest_uptime() + 10_000
        while access(device, F_OK) != 0 {
            guard cguest_uptime() < end else {
                throw GuestFailure(
                    .root, errno: ENOENT,
                    "there is no \(device): does the machine have a virtio disk, and the initramfs its modules?")
            }
            usleep(2000)
        }
    }

    private static func mount(_ device: String, _ configuration: GuestConfiguration) throws(SystemError) -> Descriptor {
        mkdir(mountPoint, 0o755)
        let flags = configuration.isReadOnly ? UInt(MS_RDONLY) : 0
        try SystemError.check(
            cguest_mount(device, mountPoint, "ext4", flags, ""), "mount \(device) as ext4 \(configuration.access)")
        do throws(SystemError) {
            if configuration.growsRoot && !configuration.isReadOnly {
                try SystemError.check(
                    cguest_grow(mountPoint, device), "grow the file system of \(device) to the disk's size")
            }
            let raw = open(mountPoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            guard raw >= 0 else { throw SystemError(errno, "open the root") }
            return Descriptor(raw)
        } catch {
            cguest_unmount(mountPoint)
            throw error
        }
    }

    private struct System {
        let source: String
        let path: String
        let type: String
        var flags: UInt = 0
        var data = ""
    }

    /// What only a read-only root needs: there nothing else could be written to.
    private static let writable = [
        System(source: "tmp", path: "/tmp", type: "tmpfs", data: "mode=1777"),
        System(source: "run", path: "/run", type: "tmpfs", data: "mode=0755"),
    ]

    private static let systems = [
        System(source: "proc", path: "/proc", type: "proc", flags: UInt(MS_NOSUID | MS_NODEV | MS_NOEXEC)),
        System(source: "sys", path: "/sys", type: "sysfs", flags: UInt(MS_NOSUID | MS_NODEV | MS_NOEXEC)),
        System(source: "dev", path: "/dev", type: "devtmpfs", flags: UInt(MS_NOSUID)),
        System(
            source: "devpts", path: "/dev/pts", type: "devpts", flags: UInt(MS_NOSUID | MS_NOEXEC),
            data: "mode=0620,gid=5,ptmxmode=0666"),
        System(
            source: "shm", path: "/dev/shm", type: "tmpfs", flags: UInt(MS_NOSUID | MS_NODEV), data: "mode=1777"),
    ]

    private mutating func mountSystems() throws(SystemError) {
        for system in Self.systems + (configuration.isReadOnly ? Self.writable : []) {
            // On a read-only root only what is there can be mounted on; below /dev there is something by now.
            let target = cguest_make_directory(descriptor.raw, system.path, 0o755)
            if target < 0 && configuration.isReadOnly {
                notes.append("\(system.path) is missing in the image, and the root is read-only")
                continue
            }
            try SystemError.check(target, "make the mount point \(system.path)")
            let point = Descriptor(target)
            try SystemError.check(
                cguest_mount(system.source, "/proc/self/fd/\(point.raw)", system.type, system.flags, system.data),
                "mount \(system.type) on \(system.path)")
        }
        for (name, target) in [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")] {
            symlink("/proc/self/fd\(target)", "/dev/\(name)")
        }
    }

    private mutating func makeDirectories() throws(SystemError) {
        let places: [(String, UInt32)] = [("/run", 0o755), ("/tmp", 0o1777)]
        for (path, mode) in places + [(configuration.workingDirectory, 0o755)] where path.hasPrefix("/") {
            let made = cguest_make_directory(descriptor.raw, path, mode)
            guard made >= 0 else {
                // Whoever needs it hears of it; most do not.
                notes.append("\(SystemError(-made, "make \(path)"))")
                continue
            }
            close(made)
        }
    }

    private mutating func setNames() throws(SystemError) {
        let hostname = configuration.hostname
        guard sethostname(hostname, hostname.utf8.count) == 0 else {
            throw SystemError(errno, "set the hostname \"\(hostname)\"")
        }
        try SystemError.check(cguest_interface_up("lo"), "bring up the loopback interface")
        try GuestNetwork.bringUp(configuration.network)
        mkdir("/names", 0o755)
        notes += try EtcFiles(configuration).bind(in: descriptor, isReadOnly: configuration.isReadOnly)
    }
}

extension GuestConfiguration {
    fileprivate var access: String { isReadOnly ? "read-only" : "read-write" }
}
