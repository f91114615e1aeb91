import CLinux
import Files
import Glibc

extension LocalProvider {
    /// How long a sandbox may take to start; usually it is some 50 ms.
    private static let startPatience = Duration.seconds(20)

    package func create(_ spec: SandboxSpec) async throws -> SandboxInfo {
        try await onOwnThread { try createBlocking(spec) }
    }

    private func createBlocking(_ spec: SandboxSpec) throws(SandboxError) -> SandboxInfo {
        try validate(spec)
        let bubblewrap = try Bubblewrap.locate(configuration.bubblewrap)
        try makeRoot()
        let id = SandboxID("sb-" + randomName(20))
        let directory = SandboxDirectory(path: configuration.root + "/" + id.rawValue)
        let record = SpecRecord(
            id: id, name: spec.name, labels: spec.labels, createdAt: .now(), inputs: spec.inputs, notes: notes(spec)
        )
        let shim = try make(directory, record: record, timeToLive: spec.timeToLive, bubblewrap: bubblewrap)
        do throws(SandboxError) {
            try awaitStart(directory, shim: shim)
            probe("create:running.after")
            guard let info = try look(directory)?.info else {
                throw SandboxError(.ended, "the new sandbox \(id) was removed by somebody at once")
            }
            return info
        } catch {
            // What failed to start is of no use to anybody; if it cannot be removed here, a sweep will.
            do throws(SandboxError) { try killBlocking(id) } catch { throw error }
            throw error
        }
    }

    /// Makes the directory and starts the shim.
    ///
    /// Killed before the rename: a temporary directory, swept later. Killed before the shim has the lock: a sandbox
    /// that is found and has ended, for the lock is free. Killed later: a sandbox that is found and runs.
    private func make(
        _ directory: SandboxDirectory, record: SpecRecord, timeToLive: Duration, bubblewrap: String
    ) throws(SandboxError) -> Int32 {
        let making = SandboxDirectory(
            path: configuration.root + "/" + SandboxDirectory.makingPrefix + record.id.rawValue
        )
        probe("create:directory.before")
        do throws(SandboxError) {
            let lock = try making.make(spec: record, expiry: Expiry(after: timeToLive))
            probe("create:directory.made")
            guard rename(making.path, directory.path) == 0 else {
                throw SandboxError.system(errno, "rename \(making.path)")
            }
            try SmallFile.syncDirectory(configuration.root)
            probe("create:directory.after")
            let shim = try startShim(directory, lock: lock.raw, bubblewrap: bubblewrap)
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
        _ directory: SandboxDirectory, lock: Int32, bubblewrap: String
    ) throws(SandboxError) -> Int32 {
        guard let program = configuration.shimCommand.first, program.hasPrefix("/") else {
            throw SandboxError(.invalidArgument, "the shim command has to start with an absolute path")
        }
        let log = try Descriptor.open(directory.logPath, O_WRONLY | O_CREAT | O_APPEND)
        // The maker's environment may hold credentials; the shim lives long and needs none of it.
        var environment = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
        environment.append("SNAPWF_BWRAP=" + bubblewrap)
        if let libraries = getenv("LD_LIBRARY_PATH") {
            environment.append("LD_LIBRARY_PATH=" + String(cString: libraries))
        }
        return try ChildProcess.startDetached(
            program, configuration.shimCommand.dropFirst() + [directory.path], environment: environment,
            descriptors: [-1, log.raw, log.raw, lock]
        )
    }

    private func awaitStart(_ directory: SandboxDirectory, shim: Int32) throws(SandboxError) {
        let end = SteadyClock.now() + Self.startPatience
        var pause = Duration.milliseconds(2)
        while SteadyClock.now() < end {
            guard let sight = try look(directory) else {
                throw SandboxError(.ended, "the new sandbox in \(directory.path) was removed by somebody at once")
            }
            switch sight.info.state {
            case .running: return
            case .starting: break
            case .ended(let reason):
                let log = try SmallFile.read(directory.logPath).map { String(decoding: $0.suffix(2000), as: UTF8.self) }
                let known = sight.record != nil
                throw SandboxError(
                    .unavailable,
                    "the sandbox did not start: \(known ? reason : "its shim (process \(shim)) ended at once")"
                        + (log.map { $0.isEmpty ? "" : ": \($0)" } ?? "")
                )
            }
            pauseThread(pause)
            pause = min(pause * 2, .milliseconds(20))
        }
        throw SandboxError(.unavailable, "the sandbox did not start within \(Self.startPatience); try again")
    }

    private func validate(_ spec: SandboxSpec) throws(SandboxError) {
        guard spec.timeToLive > .zero else {
            throw SandboxError(.invalidArgument, "a time to live of \(spec.timeToLive) is not positive")
        }
        if let image = spec.imageRef {
            throw SandboxError(
                .invalidArgument,
                "a local sandbox is made of this host's programs and cannot boot from the image \(image); leave "
                    + "--builder-image out, or use another provider"
            )
        }
        try Bubblewrap.validate(spec.inputs)
    }

    private func notes(_ spec: SandboxSpec) -> [String] {
        var notes: [String] = []
        if spec.vcpus != nil { notes.append("vcpus: not enforced") }
        if spec.memoryBytes != nil { notes.append("memory: not enforced") }
        if spec.diskBytes != nil { notes.append("disk: not enforced") }
        return notes
    }

    func makeRoot() throws(SandboxError) {
        guard configuration.root.hasPrefix("/"), configuration.root.count > 1 else {
            throw SandboxError(.invalidArgument, "the directory for local sandboxes has to be an absolute path")
        }
        var path = ""
        for part in configuration.root.split(separator: "/") {
            path += "/" + part
            if mkdir(path, path == configuration.root ? 0o700 : 0o755) != 0 && errno != EEXIST {
                throw .system(errno, "make \(path)")
            }
        }
    }
}
