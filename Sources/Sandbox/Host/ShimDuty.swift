import Glibc

/// What every shim owes its sandbox: it holds the lock, tells the state, and knows when the end has come.
struct ShimDuty {
    /// The descriptor with the lock; see `HostSandboxes.startShim`.
    static let lockDescriptor: Int32 = 3

    private let directory: SandboxDirectory
    private let identity: ProcessIdentity
    /// The process with which everything in the sandbox ends; `nil` before it runs.
    var initProcess: ProcessIdentity?

    init(directory: SandboxDirectory) throws(SandboxError) {
        self.directory = directory
        guard directory.isLockFile(Self.lockDescriptor), try directory.isHeld() == true else {
            throw SandboxError(.invalidArgument, "descriptor 3 is not the held lock of \(directory.path)")
        }
        _ = fcntl(Self.lockDescriptor, F_SETFD, FD_CLOEXEC)
        guard let identity = try ProcessIdentity(of: getpid()) else {
            throw SandboxError(.system, "/proc does not show this process")
        }
        self.identity = identity
        // TERM stays pending and is looked for; a terminal's signals are not for this process.
        var blocked = sigset_t()
        sigemptyset(&blocked)
        for signal in [SIGTERM, SIGPIPE, SIGHUP, SIGINT, SIGQUIT] { sigaddset(&blocked, signal) }
        sigprocmask(SIG_BLOCK, &blocked, nil)
    }

    func write(_ state: SandboxState) throws(SandboxError) {
        let record = StateRecord(state: state, shim: identity, initProcess: initProcess)
        try SmallFile.replace(directory.statePath, record.record.bytes, durable: false)
    }

    /// Why the sandbox has to end now, if it has to.
    func reasonToEnd() -> String? {
        guard let remaining = readRemaining() else { return "its expiry record is gone" }
        if remaining <= .zero { return "its time to live passed" }
        var pending = sigset_t()
        sigpending(&pending)
        if sigismember(&pending, SIGTERM) == 1 { return "its shim was told to end (SIGTERM)" }
        if !directory.isLockFile(Self.lockDescriptor) { return "its directory is gone" }
        return nil
    }

    /// How long to wait before ``reasonToEnd()`` is worth asking again.
    func pause(atMost longest: Duration) -> Duration {
        max(.zero, min(readRemaining() ?? .zero, longest))
    }

    /// `nil` when the record cannot be read: a sandbox without an expiry must not go on for ever.
    private func readRemaining() -> Duration? {
        do throws(SandboxError) {
            return try directory.readExpiry()?.remaining
        } catch {
            return nil
        }
    }
}
