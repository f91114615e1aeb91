import CGuest
import Glibc

/// The cgroup of all commands: whatever they do, the agent finds a processor, memory and a number for a new process.
enum CommandGroup {
    private static let mountPoint = "/cgroup"
    /// What stays free for the kernel and the agent, in bytes.
    private static let memoryReserve: UInt64 = 32 << 20

    /// - Returns: a descriptor of its `cgroup.procs`, or `nil` where the kernel cannot have it.
    static func make() -> Descriptor? {
        mkdir(mountPoint, 0o755)
        guard cguest_mount("cgroup", mountPoint, "cgroup2", 0, "") >= 0 else { return nil }
        // Each by itself: a kernel may lack one of them.
        for controller in ["pids", "memory", "cpu"] {
            try? SmallFiles.write("\(mountPoint)/cgroup.subtree_control", "+\(controller)")
        }
        let group = "\(mountPoint)/commands"
        mkdir(group, 0o755)
        if let most = SmallFiles.text("/proc/sys/kernel/threads-max").flatMap({ UInt64($0.trimmedLine) }) {
            try? SmallFiles.write("\(group)/pids.max", "\(max(64, most / 2))")
        }
        let total = MemoryCounts.read().total
        if total > memoryReserve * 2 { try? SmallFiles.write("\(group)/memory.max", "\(total - memoryReserve)") }
        let raw = open("\(group)/cgroup.procs", O_WRONLY | O_CLOEXEC)
        return raw < 0 ? nil : Descriptor(raw)
    }
}

/// What `/proc/meminfo` says, in bytes.
struct MemoryCounts: Hashable, Sendable {
    var total: UInt64 = 0
    var available: UInt64 = 0

    static func read() -> MemoryCounts { MemoryCounts(lines: SmallFiles.lines("/proc/meminfo")) }

    init(lines: [String]) {
        for line in lines {
            let words = line.split(separator: " ", omittingEmptySubsequences: true)
            guard words.count >= 2, let kilobytes = UInt64(words[1]), kilobytes < 1 << 50 else { continue }
            switch words[0] {
            case "MemTotal:": total = kilobytes << 10
            case "MemAvailable:": available = kilobytes << 10
            default: break
            }
        }
    }
}

extension String {
    /// Without the line's end.
    var trimmedLine: Substring { self[...].prefix { !$0.isNewline } }
}
