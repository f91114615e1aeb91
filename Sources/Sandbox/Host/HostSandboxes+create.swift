import CLinux
import Files
import Glibc

extension HostSandboxes {
    /// Makes a sandbox and waits until it runs.
    ///
    /// - Parameters:
    ///   - environment: what the shim's environment holds besides the search path and the language.
    ///   - patience: how long it may take to start.
    ///   - fill: makes what the provider needs in the directory, before anybody sees it.
    func create(
        _ record: SpecRecord, timeToLive: Duration, environment: [String], patience: Duration,
        fill: (SandboxDirectory) throws(SandboxError) -> Void
    ) throws(SandboxError) -> SandboxInfo {
        let directory = try directory(of: record.id)
        let shim = try make(
            directory, record: record, expiry: Expiry(after: timeToLive), environment: environment, fill: fill)
        do throws(SandboxError) {
            try awaitStart(directory, shim: shim, patience: patience)
            probe("create:running.after")
            guard let info = try look(directory)?.info else {
                throw SandboxError(.ended, "the new sandbox \(record.id) was removed by somebody at once")
            }
            return info
        } catch {
            // What failed to start is of no use to anybody; if it cannot be removed here, a sweep will.
            do throws(SandboxError) { try kill(record.id) } catch { throw error }
            throw error
        }
    }

    static func newID() -> SandboxID {
        SandboxID("sb-" + randomName(20))
    }

    /// Makes the directory and starts the shim.
    ///
    /// Killed before the rename: a temporary directory, swept later. Killed before the shim has the lock: a sandbox
    /// that is found and has ended, for the lock is free. Killed later: a sandbox that is found and runs.
    private func make(
        _ directory: SandboxDirectory, record: SpecRecord, expiry: Expiry, environment: [String],
        fill: (SandboxDirectory) throws(SandboxError) -> Void
    ) throws(SandboxError) -> Int32 {
        let making = SandboxDirectory(path: root + "/" + SandboxDirectory.makingPrefix + record.id.rawValue)
        probe("create:directory.before")
        do throws(SandboxError) {
            let lock = try making.make(spec: record, expiry: expiry, fill: fill)
            probe("create:directory.made")
            guard rename(making.path, directory.path) == 0 else {
                throw SandboxError.system(errno, "rename \(making.path)")
            }
            try SmallFile.syncDirectory(root)
            probe("create:directory.after")
            let shim = try startShim(directory, lock: lock.raw, environment: environment)
            probe("create:shim.after")
            return shim
        } catch {
            do throws(SandboxError) {
                try removeFiles(making.path)
                try removeFiles(directory.path)
            } catch {
                // A sweep removes them later; the first error is the one to tell.
            }
            throw error
        }
    }

    /// The shim gets the descriptor with the lock, so that the lock is held without a gap.
    private func startShim(
        _ directory: SandboxDirectory, lock: Int32, environment added: [String]
    ) throws(SandboxError) -> Int32 {
        guard let program = shimCommand.first, program.hasPrefix("/") else {
            throw SandboxError(.invalidArgument, "the shim command has to start with an absolute path")
        }
        let log = try Descriptor.open(directory.logPath, O_WRONLY | O_CREAT | O_APPEND)
        // The maker's environment may hold credentials; the shim lives long and needs none of it.
        var environment = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"] + added
        if let libraries = getenv("LD_LIBRARY_PATH") {
            environment.append("LD_LIBRARY_PATH=" + String(cString: libraries))
        }
        return try ChildProcess.startDetached(
            program, shimCommand.dropFirst() + [directory.path], environment: environment,
            descriptors: [-1, log.raw, log.raw, lock]
        )
    }

    private func awaitStart(
        _ directory: SandboxDirectory, shim: Int32, patience: Duration
    ) throws(SandboxError) {
        let end = SteadyClock.now() + patience
        var pause = Duration.milliseconds(2)
        while SteadyClock.now() < end {
            guard let sight = try look(directory) else {
                throw SandboxError(.ended, "the new sandbox in \(directory.path) was removed by somebody at once")
            }
            switch sight.info.state {
            case .running: return
            case .starting: break
            case .ended(let reason):
                let log = try SmallFile.read(directory.logPath).map {
                    String(decoding: $0.suffix(2000), as: UTF8.self).trimmed
                }
                let known = sight.record != nil
                throw SandboxError(
                    .didNotStart,
                    "the sandbox did not start: \(known ? reason : "its shim (process \(shim)) ended at once")"
                        + (log.map { $0.isEmpty ? "" : ": \($0)" } ?? "")
                )
            }
            pauseThread(pause)
            pause = min(pause * 2, .milliseconds(20))
        }
        throw SandboxError(.unavailable, "the sandbox did not start within \(patience); try again")
    }

    /// Whether the shim's program can be run and the root written; makes the root.
    func check() throws(SandboxError) {
        let program = shimCommand.first ?? ""
        guard program.hasPrefix("/"), access(program, X_OK) == 0 else {
            throw SandboxError(.missingTool, "the shim program \"\(program)\" cannot be run")
        }
        try makeRoot()
        guard access(root, W_OK | X_OK) == 0 else {
            throw SandboxError(.notPermitted, "\(root) is not writable; choose another directory")
        }
    }

    func makeRoot() throws(SandboxError) {
        guard root.hasPrefix("/"), root.count > 1 else {
            throw SandboxError(.invalidArgument, "the directory for \(kind) sandboxes has to be an absolute path")
        }
        var path = ""
        for part in root.split(separator: "/") {
            path += "/" + part
            if mkdir(path, path == root ? 0o700 : 0o755) != 0 && errno != EEXIST {
                throw .system(errno, "make \(path)")
            }
        }
    }
}
