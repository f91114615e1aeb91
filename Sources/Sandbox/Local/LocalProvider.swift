import Files
import Glibc

/// Sandboxes on this Linux host: a directory and a tree of processes in namespaces, made by bubblewrap.
///
/// No daemon: each sandbox has a small shim process that outlives its maker, holds the sandbox's lock, keeps its
/// time to live, and ends everything in it. The network is the host's, abstract Unix sockets included.
/// Better made by an ordinary user: to a daemon behind such a socket, the processes of root's sandbox are root.
package struct LocalProvider: SandboxProvider {
    package struct Configuration: Sendable {
        /// Holds one directory a sandbox. Made when missing, mode 0700. On a file system of this machine.
        package var root: String
        /// Starts the shim: the program's absolute path and its first arguments; the sandbox's directory is added.
        package var shimCommand: [String]
        /// `nil`: looked up in `PATH`.
        package var bubblewrap: String?
        /// Called at named points, so that a test can die exactly there.
        package var probe: (@Sendable (String) -> Void)?

        package init(
            root: String,
            shimCommand: [String],
            bubblewrap: String? = nil,
            probe: (@Sendable (String) -> Void)? = nil
        ) {
            self.root = root
            self.shimCommand = shimCommand
            self.bubblewrap = bubblewrap
            self.probe = probe
        }
    }

    package let name = "local"
    package let capabilities = Capabilities(
        hostFiles: true,
        hostInputs: true,
        standardInput: true,
        cheapCommands: true,
        timeToLiveGranularity: .milliseconds(1)
    )
    package let configuration: Configuration
    /// How long a shim may take to end after its init was killed, before it is killed itself.
    var shimPatience = Duration.seconds(10)

    package init(configuration: Configuration) {
        self.configuration = configuration
    }

    func directory(of id: SandboxID) throws(SandboxError) -> SandboxDirectory {
        guard SandboxDirectory.isValid(id) else { throw Self.unknown(id) }
        return SandboxDirectory(path: configuration.root + "/" + id.rawValue)
    }

    static func unknown(_ id: SandboxID) -> SandboxError {
        SandboxError(.notFound, "there is no local sandbox \(id)")
    }

    func probe(_ point: String) {
        configuration.probe?("local:" + point)
    }

    // MARK: Looking

    package func list() async throws -> [SandboxInfo] {
        try await onOwnThread {
            try listBlocking().map { directory in try look(directory)?.info }.compactMap { $0 }
        }
    }

    package func get(_ id: SandboxID) async throws -> SandboxInfo? {
        guard SandboxDirectory.isValid(id) else { return nil }
        return try await onOwnThread { try look(directory(of: id))?.info }
    }

    func listBlocking() throws(SandboxError) -> [SandboxDirectory] {
        var directories: [SandboxDirectory] = []
        for name in try directoryEntries(configuration.root) ?? [] where SandboxDirectory.isValid(SandboxID(name)) {
            directories.append(SandboxDirectory(path: configuration.root + "/" + name))
        }
        return directories
    }

    /// What is known of a sandbox, and the shim's own record.
    struct Sight: Sendable {
        var info: SandboxInfo
        var record: StateRecord?
        var spec: SpecRecord
    }

    /// - Returns: `nil` when the sandbox is gone.
    func look(_ directory: SandboxDirectory) throws(SandboxError) -> Sight? {
        // The lock before the state: a shim writes its last word before it lets go of the lock.
        guard let held = try directory.isHeld() else { return nil }
        let record = try directory.readState()
        guard let spec = try directory.readSpec() else { return nil }
        let info = SandboxInfo(
            id: spec.id,
            name: spec.name,
            labels: spec.labels,
            state: try Self.state(held: held, record: record),
            createdAt: spec.createdAt,
            expiresAt: try directory.readExpiry()?.at,
            notes: spec.notes
        )
        return Sight(info: info, record: record, spec: spec)
    }

    static func state(held: Bool, record: StateRecord?) throws(SandboxError) -> SandboxState {
        if let record, case .ended = record.state { return record.state }
        if held { return record?.state ?? .starting }
        guard let record else { return .ended(reason: "its maker died before it was started") }
        if try record.shim.bootID != ProcessIdentity.currentBootID() {
            return .ended(reason: "the machine was restarted")
        }
        return .ended(reason: "its shim died")
    }

    // MARK: Time to live

    package func setTimeToLive(_ timeToLive: Duration, of id: SandboxID) async throws {
        let directory = try directory(of: id)
        guard timeToLive > .zero else {
            throw SandboxError(.invalidArgument, "a time to live of \(timeToLive) is not positive; kill the sandbox")
        }
        try await onOwnThread {
            try requireAlive(id, directory)
            try SmallFile.replace(directory.expiresPath, Expiry(after: timeToLive).record.bytes, durable: false)
            // The shim may have decided before the record was there.
            try requireAlive(id, directory)
        }
    }

    @discardableResult
    func requireAlive(_ id: SandboxID, _ directory: SandboxDirectory) throws(SandboxError) -> Sight {
        guard let sight = try look(directory) else { throw Self.unknown(id) }
        if case .ended(let reason) = sight.info.state {
            throw SandboxError(.ended, "sandbox \(id) is over: \(reason); create another")
        }
        return sight
    }

    // MARK: Files

    package func hostPath(of path: String, in id: SandboxID) -> String? {
        guard SandboxDirectory.isValid(id) else { return nil }
        let directory = SandboxDirectory(path: configuration.root + "/" + id.rawValue)
        for (guest, host) in [("/work", directory.workPath), ("/tmp", directory.temporaryPath)] {
            if path == guest { return host }
            guard path.hasPrefix(guest + "/") else { continue }
            let inside = String(path.dropFirst(guest.count + 1))
            return staysBeneath(inside, host) ? host + "/" + inside : nil
        }
        return nil
    }
}
