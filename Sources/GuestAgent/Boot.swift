import CGuest
import Glibc
import GuestProtocol

/// The first process of a virtual machine, from the kernel's hand-over to the machine's end.
package enum Boot {
    /// Never returns: it ends the machine, at the host's word or when it cannot go on.
    package static func main() -> Never {
        guard getpid() == 1 else {
            Console.say("runs as the first process of a virtual machine, and not by hand")
            exit(64)
        }
        do throws(SystemError) {
            try serve()
        } catch {
            Console.write("\(GuestPort.lastWords)\(error)\n")
        }
        MachineEnd.now()
    }

    private static func serve() throws(SystemError) {
        try mountOwn()
        let children = try SystemError.check(cguest_child_signals(), "watch for processes that end")
        cguest_set_nice(-20)
        let warnings = loadModules()
        let raw = try openPort()
        let milliseconds = UInt32(clamping: cguest_uptime())
        let port = GuestPortConnection(raw)
        let agent = Agent(port: port, bootMilliseconds: milliseconds, warnings: warnings)
        let request = try AgentLoop(agent: agent, children: children).run()
        MachineEnd.cleanly(agent, request: request)
    }

    /// The initramfs's own; the root gets others.
    private static func mountOwn() throws(SystemError) {
        for (type, path) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev")] {
            mkdir(path, 0o755)
            let result = cguest_mount(type, path, type, 0, "")
            // A kernel may have mounted /dev by itself.
            if result != -EBUSY { try SystemError.check(result, "mount \(path)") }
        }
    }

    /// - Returns: what did not load, a line each. Whether it matters shows later.
    private static func loadModules() -> [String] {
        var warnings: [String] = []
        for line in SmallFiles.lines(GuestPort.moduleOrder) where !line.isEmpty {
            let result = cguest_load_module("/modules/\(line)")
            if result < 0 { warnings.append("\(SystemError(-result, "load the module \(line)"))") }
        }
        for warning in warnings { Console.say(warning) }
        return warnings
    }

    /// Waits, up to half a minute, for the port by which the host speaks.
    private static func openPort() throws(SystemError) -> Int32 {
        let end = cguest_uptime() + 30_000
        while cguest_uptime() < end {
            if let device = portDevice() {
                let raw = open("/dev/\(device)", O_RDWR | O_NONBLOCK | O_CLOEXEC)
                guard raw >= 0 else { throw SystemError(errno, "open /dev/\(device)") }
                return raw
            }
            usleep(2000)
        }
        throw SystemError(ENODEV, "find the virtio-serial port \(GuestPort.name)")
    }

    private static func portDevice() -> String? {
        let ports = "/sys/class/virtio-ports"
        guard let stream = opendir(ports) else { return nil }
        defer { closedir(stream) }
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            let said = SmallFiles.text("\(ports)/\(name)/name") ?? ""
            if said.trimmedLine == GuestPort.name && access("/dev/\(name)", F_OK) == 0 { return name }
        }
        return nil
    }
}

/// The machine's console, which the host keeps.
enum Console {
    static func say(_ text: String) {
        write("snapwf-agent: \(text)\n")
    }

    static func write(_ text: String) {
        let bytes = Array(text.utf8)
        _ = Glibc.write(STDERR_FILENO, bytes, bytes.count)
    }
}
