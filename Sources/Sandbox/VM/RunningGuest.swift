import CLinux
import Glibc

/// A QEMU that runs a guest, and this side's ends of its channels. It ends with the thread that started it.
struct RunningGuest: ~Copyable {
    let pid: Int32
    let process: Descriptor
    let identity: ProcessIdentity
    /// The agent's port; whoever takes it closes it.
    let agent: Int32
    let console: Descriptor
    /// What QEMU itself says.
    let complaints: Descriptor

    private init(
        pid: Int32, process: consuming Descriptor, identity: ProcessIdentity, agent: Int32,
        console: consuming Descriptor, complaints: consuming Descriptor
    ) {
        self.pid = pid
        self.process = process
        self.identity = identity
        self.agent = agent
        self.console = console
        self.complaints = complaints
        setNonBlocking(self.console.raw)
        setNonBlocking(self.complaints.raw)
    }

    static func start(_ command: QEMUCommand) throws(SandboxError) -> RunningGuest {
        let agent = try socketPair()
        let console = try socketPair()
        let errors = try Pipe()
        let port = fcntl(agent.here.raw, F_DUPFD_CLOEXEC, 3)
        guard port >= 0 else { throw .system(errno, "duplicate a socket") }
        let pid: Int32
        do throws(SandboxError) {
            pid = try ChildProcess.startTied(
                command.program, command.arguments, environment: ["PATH=/usr/bin:/bin", "LANG=C.UTF-8"],
                descriptors: [-1, errors.write.raw, errors.write.raw, agent.there.raw, console.there.raw])
        } catch {
            _ = close(port)
            throw error
        }
        let raw = clinux_pidfd_open(pid)
        guard raw >= 0 else {
            _ = Glibc.kill(-pid, SIGKILL)
            _ = close(port)
            _ = try ChildProcess.reap(pid)
            throw .system(-raw, "open process \(pid)")
        }
        // One that has ended already, and is not reaped, has no identity any more; nobody could kill it either.
        let identity = try ProcessIdentity(of: pid) ?? ProcessIdentity(pid: pid, startTime: 0, bootID: "")
        return RunningGuest(
            pid: pid, process: Descriptor(raw), identity: identity, agent: port, console: console.consumeHere(),
            complaints: errors.readEnd())
    }

    /// Ends it and everything in it. Once.
    ///
    /// - Returns: how it ended.
    func end() throws(SandboxError) -> Int32 {
        _ = clinux_pidfd_send_signal(process.raw, SIGKILL)
        return try ChildProcess.reap(pid)
    }

    private struct SocketPair: ~Copyable {
        let here: Descriptor
        let there: Descriptor

        consuming func consumeHere() -> Descriptor { here }
    }

    private static func socketPair() throws(SandboxError) -> SocketPair {
        var ends: [Int32] = [-1, -1]
        let result = clinux_socket_pair(&ends)
        guard result >= 0 else { throw .system(-result, "make a pair of sockets") }
        return SocketPair(here: Descriptor(ends[0]), there: Descriptor(ends[1]))
    }
}
