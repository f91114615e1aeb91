import CLinux
import Glibc

/// Starting programs and hearing of their end.
enum ChildProcess {
    /// Starts a program in a session of its own.
    ///
    /// - Parameter descriptors: become 0, 1, 2 …; -1 is /dev/null.
    /// - Returns: the pid of a child that somebody must ``reap(_:)``.
    static func start(
        _ path: String, _ arguments: [String], environment: [String] = [], descriptors: [Int32]
    ) throws(SandboxError) -> Int32 {
        try spawn(clinux_spawn, path, arguments, environment, descriptors)
    }

    /// Starts a program that outlives this one and is nobody's child.
    static func startDetached(
        _ path: String, _ arguments: [String], environment: [String], descriptors: [Int32]
    ) throws(SandboxError) -> Int32 {
        try spawn(clinux_spawn_detached, path, arguments, environment, descriptors)
    }

    /// Starts a child that does not outlive the calling thread, in a session of its own.
    static func startTied(
        _ path: String, _ arguments: [String], environment: [String], descriptors: [Int32]
    ) throws(SandboxError) -> Int32 {
        try spawn(clinux_spawn_tied, path, arguments, environment, descriptors)
    }

    private typealias Spawn = (UnsafePointer<CChar>, CStrings, CStrings, UnsafePointer<Int32>, Int32) -> Int32
    private typealias CStrings = UnsafePointer<UnsafeMutablePointer<CChar>?>

    private static func spawn(
        _ spawn: Spawn, _ path: String, _ arguments: [String], _ environment: [String], _ descriptors: [Int32]
    ) throws(SandboxError) -> Int32 {
        let pid = withCStrings([path] + arguments) { arguments in
            withCStrings(environment) { environment in
                spawn(path, arguments, environment, descriptors, Int32(descriptors.count))
            }
        }
        guard pid > 0 else { throw .system(-pid, "start \(path)") }
        return pid
    }

    /// Waits for a child that ended or is about to.
    ///
    /// - Returns: its exit code, or 128 + n when signal n ended it.
    static func reap(_ pid: Int32) throws(SandboxError) -> Int32 {
        var status: Int32 = 0
        guard retrying({ waitpid(pid, &status, 0) }) == pid else { throw .system(errno, "wait for process \(pid)") }
        let signal = status & 0x7F
        return signal == 0 ? (status >> 8) & 0xFF : 128 + signal
    }

    /// Waits for a child for a time, and then kills it with its process group.
    ///
    /// - Returns: its exit code, or 128 + n when signal n ended it.
    static func reap(_ pid: Int32, patience: Duration) throws(SandboxError) -> Int32 {
        let raw = clinux_pidfd_open(pid)
        if raw >= 0 {
            let process = Descriptor(raw)
            if !waitReadable(process.raw, for: patience) { _ = kill(-pid, SIGKILL) }
        }
        return try reap(pid)
    }

    private static func withCStrings<Result>(
        _ strings: [String], _ body: (CStrings) -> Result
    ) -> Result {
        let copies: [UnsafeMutablePointer<CChar>?] = strings.map { strdup($0) } + [nil]
        defer { for copy in copies { free(copy) } }
        return copies.withUnsafeBufferPointer { buffer in
            // The buffer has at least its terminator, so there is an address.
            body(buffer.baseAddress!)
        }
    }
}

/// Whether a descriptor should not wait for its other end.
func setNonBlocking(_ descriptor: Int32) {
    _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
}

/// The integer under a key of the flat JSON that bwrap writes to `--json-status-fd` and `--info-fd`.
func integer(named key: String, inStatus status: [UInt8]) -> Int32? {
    let text = Array("\"\(key)\":".utf8)
    guard status.count >= text.count else { return nil }
    for start in 0...(status.count - text.count) where status[start..<(start + text.count)].elementsEqual(text) {
        let rest = status[(start + text.count)...].drop { $0 == UInt8(ascii: " ") }
        let digits = rest.prefix { (0x30...0x39).contains($0) }
        // Without what follows, more digits might still come.
        guard digits.count < rest.count else { return nil }
        return Int32(String(decoding: digits, as: UTF8.self))
    }
    return nil
}
