import CLinux
import Glibc

/// Which process, and not merely which number: pids are given anew, start times within one boot are not.
struct ProcessIdentity: Hashable, Sendable {
    let pid: Int32
    /// In clock ticks since boot: field 22 of /proc/pid/stat (proc(5)).
    let startTime: UInt64
    /// /proc/sys/kernel/random/boot_id
    let bootID: String

    init(pid: Int32, startTime: UInt64, bootID: String) {
        self.pid = pid
        self.startTime = startTime
        self.bootID = bootID
    }

    /// The process that has this pid now; `nil` when there is none or it is a zombie.
    init?(of pid: Int32) throws(SandboxError) {
        guard let stat = try ProcessStatus(of: pid) else {
            return nil
        }
        self.init(pid: pid, startTime: stat.startTime, bootID: try Self.currentBootID())
    }

    static func currentBootID() throws(SandboxError) -> String {
        guard let bytes = try SmallFile.read("/proc/sys/kernel/random/boot_id"), !bytes.isEmpty else {
            throw SandboxError(.system, "/proc/sys/kernel/random/boot_id is missing; mount /proc")
        }
        return String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    }

    /// Whether the process is gone or on its way out.
    ///
    /// The init of a pid namespace is on its way out while the kernel still kills and awaits everybody else in it.
    func isEnding() throws(SandboxError) -> Bool {
        guard let stat = try ProcessStatus(of: pid) else {
            return true
        }
        return stat.startTime != startTime || stat.isExiting
    }

    /// A descriptor for exactly this process, or `nil` when it is gone.
    ///
    /// The descriptor is opened first and the identity is checked afterwards: a pid given anew in between shows
    /// another start time, and one given anew later does not concern the descriptor. The boot id is compared as well.
    func open() throws(SandboxError) -> Descriptor? {
        let raw = clinux_pidfd_open(pid)
        if raw == -ESRCH { return nil }
        guard raw >= 0 else { throw .system(-raw, "open process \(pid)") }
        let descriptor = Descriptor(raw)
        guard try ProcessIdentity(of: pid) == self else { return nil }
        return descriptor
    }

    /// Sends KILL to exactly this process, or to nobody, and waits until it is gone.
    ///
    /// The init of a pid namespace is gone only after everything in the namespace is (pid_namespaces(7)).
    /// - Throws: code `unavailable` when it is still there after `patience`.
    func kill(patience: Duration) throws(SandboxError) {
        guard let process = try open() else { return }
        let result = clinux_pidfd_send_signal(process.raw, SIGKILL)
        if result == -ESRCH { return }
        guard result >= 0 else { throw .system(-result, "kill process \(pid)") }
        guard waitReadable(process.raw, for: patience) else {
            throw SandboxError(.unavailable, "process \(pid) did not end within \(patience) of KILL; try again")
        }
    }
}

/// What /proc/pid/stat tells of a live process (proc(5)).
struct ProcessStatus: Hashable, Sendable {
    let startTime: UInt64
    let parent: Int32
    let isExiting: Bool

    /// - Returns: `nil` for a zombie, a dead process, or text that is no stat line.
    init?(stat: [UInt8]) {
        // The second field is the program's name in parentheses and may itself hold spaces and parentheses.
        guard let end = stat.lastIndex(of: UInt8(ascii: ")")) else { return nil }
        let fields = stat[(end + 1)...].split(separator: UInt8(ascii: " ")).map { String(decoding: $0, as: UTF8.self) }
        guard fields.count > 19, fields[0] != "Z", fields[0] != "X", let flags = UInt64(fields[6]),
            let parent = Int32(fields[1]), let startTime = UInt64(fields[19])
        else { return nil }
        // PF_EXITING of include/linux/sched.h.
        isExiting = flags & 0x4 != 0
        self.startTime = startTime
        self.parent = parent
    }

    /// - Returns: `nil` for a process that is gone, or a zombie.
    init?(of pid: Int32) throws(SandboxError) {
        guard let stat = try SmallFile.read("/proc/\(pid)/stat") else { return nil }
        self.init(stat: stat)
    }
}

/// Waits until a descriptor is readable (a pidfd: until its process ended), or for a time.
func waitReadable(_ descriptor: Int32, for patience: Duration) -> Bool {
    let end = SteadyClock.now() + patience
    while true {
        var poller = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        let rest = (end - SteadyClock.now()).wholeMilliseconds
        let count = poll(&poller, 1, Int32(max(0, min(rest, 60_000))))
        if count > 0 { return true }
        if count < 0 && errno != EINTR { return false }
        if rest <= 0 { return false }
    }
}
