import CLinux
import Glibc

/// The body of the hidden verb that ``LocalProvider/Configuration/shimCommand`` starts.
///
/// Holds the sandbox's lock, starts its init, keeps the time to live, and returns when the sandbox is over.
/// Not for people: it needs descriptor 3, the lock that the provider hands to it.
///
/// Killed with KILL, its sandbox ends too: the holder inside sees the end of its input, and a later
/// ``LocalProvider/sweep()`` kills what should still be there.
package func runSandboxShim(directory: String) -> Int32 {
    let directory = SandboxDirectory(path: directory)
    do {
        var shim = try SandboxShim(directory: directory)
        try shim.run()
        return 0
    } catch {
        let text = "sandbox shim: \(error)\n"
        _ = text.withCString { write(STDERR_FILENO, $0, strlen($0)) }
        return 1
    }
}

/// The process that keeps one sandbox.
private struct SandboxShim {
    private static let startPatience = Duration.seconds(15)
    private static let endPatience = Duration.seconds(30)
    /// How late a changed expiry, a TERM or a removed directory may be noticed.
    private static let tick = Duration.seconds(1)

    private let directory: SandboxDirectory
    private var duty: ShimDuty

    init(directory: SandboxDirectory) throws(SandboxError) {
        self.directory = directory
        duty = try ShimDuty(directory: directory)
    }

    mutating func run() throws(SandboxError) {
        do throws(SandboxError) {
            try duty.write(.starting)
            let sandbox = try start()
            duty.initProcess = sandbox.identity
            try duty.write(.running)
            let reason = watch(sandbox)
            try end(sandbox)
            try duty.write(.ended(reason: reason))
        } catch {
            // The lock goes with this process; without the record a reader only sees that the shim died.
            try duty.write(.ended(reason: error.message))
            throw error
        }
    }

    /// Everything that must stay open, or known, as long as the sandbox runs.
    private struct Running: ~Copyable {
        /// bwrap outside of the namespaces, this process's child.
        let monitor: Int32
        let monitorProcess: Descriptor
        let identity: ProcessIdentity
        /// Closed with this process: then the holder inside sees the end of its input.
        let holder: Descriptor
        let complaints: Descriptor
    }

    private func start() throws(SandboxError) -> Running {
        guard let spec = try directory.readSpec() else {
            throw SandboxError(.notFound, "\(directory.specPath) is missing")
        }
        let bubblewrap = try Bubblewrap.locate(getenv("SNAPWF_BWRAP").map { String(cString: $0) })
        let world = Bubblewrap(directory: directory, inputs: spec.inputs)
        let options = try Bubblewrap.optionFile(world.initOptions(statusDescriptor: 4))
        let input = try Pipe()
        let output = try Pipe()
        let errors = try Pipe()
        // A file and not a pipe: a write to it succeeds even when this process is gone.
        let status = try Descriptor.memoryFile()
        let monitor = try ChildProcess.start(
            bubblewrap, ["--args", "3", "--"] + Bubblewrap.holder,
            descriptors: [input.read.raw, output.write.raw, errors.write.raw, options.raw, status.raw]
        )
        let raw = clinux_pidfd_open(monitor)
        guard raw >= 0 else { throw .system(-raw, "open process \(monitor)") }
        let monitorProcess = Descriptor(raw)
        let holder = input.writeEnd()
        let said = output.readEnd()
        let complaints = errors.readEnd()
        setNonBlocking(complaints.raw)
        do throws(SandboxError) {
            let identity = try awaitInit(output: said.raw, status: status.raw)
            return Running(
                monitor: monitor, monitorProcess: monitorProcess, identity: identity, holder: holder,
                complaints: complaints
            )
        } catch {
            // The group: the init may be waiting for a bwrap that is dead. Not reaped, so the number is still its own.
            _ = Glibc.kill(-monitor, SIGKILL)
            _ = try ChildProcess.reap(monitor)
            let text = String(decoding: drain(complaints.raw, limit: 2000), as: UTF8.self)
                .replacing("\n", with: " ")
            throw SandboxError(error.code, "\(error.message)\(text.isEmpty ? "" : ": \(text)")")
        }
    }

    /// Waits until the shell inside said that it is up: then the namespaces are complete and can be entered.
    private func awaitInit(output: Int32, status: Int32) throws(SandboxError) -> ProcessIdentity {
        let end = SteadyClock.now() + Self.startPatience
        guard waitReadable(output, for: end - SteadyClock.now()) else {
            throw SandboxError(.unavailable, "bubblewrap did not start within \(Self.startPatience)")
        }
        var byte: UInt8 = 0
        guard retrying({ read(output, &byte, 1) }) == 1 else {
            throw SandboxError(.unavailable, "bubblewrap could not make the sandbox")
        }
        guard let pid = integer(named: "child-pid", inStatus: SmallFile.readStart(status)),
            let identity = try ProcessIdentity(of: pid)
        else {
            throw SandboxError(.unavailable, "bubblewrap did not tell the process of the sandbox")
        }
        return identity
    }

    /// Returns when the sandbox has to end, or has ended, with the reason.
    private func watch(_ sandbox: borrowing Running) -> String {
        while true {
            if let reason = duty.reasonToEnd() { return reason }
            if waitReadable(sandbox.monitorProcess.raw, for: duty.pause(atMost: Self.tick)) {
                return "its init ended"
            }
            // Whatever runs inside can write here; nothing of it is kept.
            _ = drain(sandbox.complaints.raw, limit: 1 << 20)
        }
    }

    private func end(_ sandbox: borrowing Running) throws(SandboxError) {
        try sandbox.identity.kill(patience: Self.endPatience)
        if !waitReadable(sandbox.monitorProcess.raw, for: .seconds(5)) {
            _ = clinux_pidfd_send_signal(sandbox.monitorProcess.raw, SIGKILL)
        }
        _ = try ChildProcess.reap(sandbox.monitor)
    }
}
