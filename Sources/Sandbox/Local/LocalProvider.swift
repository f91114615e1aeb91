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

    var sandboxes: HostSandboxes {
        HostSandboxes(
            kind: name, root: configuration.root, shimCommand: configuration.shimCommand, shimPatience: shimPatience,
            onPoint: configuration.probe)
    }

    // MARK: Looking

    package func list() async throws -> [SandboxInfo] {
        try await onOwnThread { () throws(SandboxError) in try sandboxes.list() }
    }

    package func get(_ id: SandboxID) async throws -> SandboxInfo? {
        guard SandboxDirectory.isValid(id) else { return nil }
        return try await onOwnThread { () throws(SandboxError) in
            try sandboxes.look(sandboxes.directory(of: id))?.info
        }
    }

    // MARK: The end

    package func setTimeToLive(_ timeToLive: Duration, of id: SandboxID) async throws {
        try await onOwnThread { () throws(SandboxError) in try sandboxes.setTimeToLive(timeToLive, of: id) }
    }

    package func kill(_ id: SandboxID) async throws {
        try await onOwnThread { () throws(SandboxError) in try sandboxes.kill(id) }
    }

    /// Removes what is left of ended sandboxes and of dead makers. Cheap; safe at any time, from several processes.
    ///
    /// - Returns: the sandboxes removed.
    @discardableResult
    package func sweep() async throws -> [SandboxID] {
        try await onOwnThread { () throws(SandboxError) in try sandboxes.sweep() }
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
