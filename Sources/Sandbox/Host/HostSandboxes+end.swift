import CLinux
import Files
import Glibc

extension HostSandboxes {
    /// How long a killed sandbox may take to be gone.
    private static let endPatience = Duration.seconds(30)
    /// A temporary directory younger than this may be one whose maker has not locked it yet.
    private static let makingGrace: Int = 60
    /// A shim that has not ended its sandbox by so much after the expiry does not work.
    private static let expiryGrace = Duration.seconds(30)

    /// Safe to repeat after a crash anywhere, and for two at once: whoever gets the lock of the dead sandbox removes
    /// it, everybody returns when it is gone.
    func kill(_ id: SandboxID) throws(SandboxError) {
        guard SandboxDirectory.isValid(id) else { return }
        let directory = SandboxDirectory(path: root + "/" + id.rawValue)
        let end = SteadyClock.now() + Self.endPatience
        var pause = Duration.milliseconds(1)
        var shimIsLate = SteadyClock.now() + shimPatience
        while true {
            switch try directory.takeLock() {
            case .gone:
                return
            case .taken(let lock):
                try remove(directory, holding: lock)
                return
            case .held:
                break
            }
            if let record = try directory.readState() {
                try record.initProcess?.kill(patience: max(end - SteadyClock.now(), .milliseconds(1)))
                probe("kill:init.after")
                if SteadyClock.now() > shimIsLate {
                    // Stopped, or at its wits' end: nothing needs it any more.
                    try record.shim.kill(patience: .seconds(5))
                    shimIsLate = end
                }
            }
            guard SteadyClock.now() < end else {
                throw SandboxError(
                    .unavailable,
                    "sandbox \(id) is still held by its maker or its shim after \(Self.endPatience); try again"
                )
            }
            pauseThread(pause)
            pause = min(pause * 2, .milliseconds(50))
        }
    }

    /// Removes a sandbox whose lock is held here. Killed after the rename: a sweep goes on with the removal.
    private func remove(_ directory: SandboxDirectory, holding lock: consuming Descriptor) throws(SandboxError) {
        // A shim that died may have left its init.
        try directory.readState()?.initProcess?.kill(patience: Self.endPatience)
        let name = directory.path.split(separator: "/").last.map(String.init) ?? ""
        let going = "\(root)/\(SandboxDirectory.goingPrefix)\(name)-\(randomName(8))"
        guard rename(directory.path, going) == 0 else {
            if errno == ENOENT { return }
            throw .system(errno, "rename \(directory.path)")
        }
        probe("kill:rename.after")
        try removeFiles(going)
        _ = consume lock
    }

    /// Removes what is left of ended sandboxes and of dead makers. Cheap; safe at any time, from several processes.
    ///
    /// - Returns: the sandboxes removed.
    func sweep() throws(SandboxError) -> [SandboxID] {
        var swept: [SandboxID] = []
        for name in try directoryEntries(root) ?? [] {
            let path = root + "/" + name
            if name.hasPrefix(SandboxDirectory.goingPrefix) {
                try removeFiles(path)
            } else if name.hasPrefix(SandboxDirectory.makingPrefix) {
                try sweepUnfinished(SandboxDirectory(path: path))
            } else if SandboxDirectory.isValid(SandboxID(name)) {
                if try isOver(SandboxDirectory(path: path)) {
                    try kill(SandboxID(name))
                    swept.append(SandboxID(name))
                }
            }
        }
        return swept
    }

    /// Over for everybody: nobody holds the lock, or the shim let the expiry pass.
    private func isOver(_ directory: SandboxDirectory) throws(SandboxError) -> Bool {
        guard let held = try directory.isHeld() else { return false }
        guard held else { return true }
        guard let expiry = try directory.readExpiry() else { return false }
        return expiry.remaining < .zero - Self.expiryGrace
    }

    private func sweepUnfinished(_ directory: SandboxDirectory) throws(SandboxError) {
        if let isHeld = try directory.isHeld() {
            if !isHeld { try removeFiles(directory.path) }
            return
        }
        // The maker lives or died before it had its lock: only age can tell.
        guard let status = linkStatus(directory.path) else { return }
        let age = Int(UnixTime.now().milliseconds / 1000) - status.st_mtim.tv_sec
        // The clock may have been set back: a directory from the future is as old as one can tell.
        guard age > Self.makingGrace || age < -Self.makingGrace else { return }
        try removeFiles(directory.path)
    }
}
