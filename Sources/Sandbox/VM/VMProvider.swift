import Files
import Glibc
import GuestProtocol

/// Sandboxes that are virtual machines of QEMU, booted from snapshots: the snapshot stays as it is, what a guest writes
/// lies over it and goes with the sandbox.
///
/// No daemon and no rights: each sandbox has a shim process that outlives its maker, owns QEMU and the connection to the
/// agent in the guest, and serves any number of clients at a socket in the sandbox's directory.
package struct VMProvider: SandboxProvider {
    package struct Configuration: Sendable {
        /// Holds one directory a sandbox. Made when missing, mode 0700. On a file system of this machine.
        package var root: String
        /// What can be made again: initramfs files, and whether KVM works.
        package var cache: String
        /// Starts the shim: the program's absolute path and its first arguments; the sandbox's directory is added.
        package var shimCommand: [String]
        /// The init of every guest, a static program.
        package var agent: String
        /// `nil`: the newest one of this host that has its modules.
        package var kernel: String?
        /// `nil`: looked up in `PATH`.
        package var qemu: String?
        /// `nil`: KVM where a guest proves that it works.
        package var accelerator: Accelerator?
        /// What sandboxes boot from whose spec names no snapshot; `nil`: such are refused.
        package var defaultSnapshot: SnapshotRoot?
        /// How long a guest may take to answer; one that takes longer is ended. It may take three times as long to start.
        package var patience = Duration.seconds(60)
        /// Called at named points, so that a test can die exactly there.
        package var probe: (@Sendable (String) -> Void)?

        package init(root: String, cache: String, shimCommand: [String], agent: String) {
            self.root = root
            self.cache = cache
            self.shimCommand = shimCommand
            self.agent = agent
        }
    }

    /// What a guest gets that asks for nothing.
    static let defaultMemory: UInt64 = 512 << 20
    static let defaultVCPUs = 1
    /// What is left free for a guest at least, that asks for no disk.
    static let defaultRoom: UInt64 = 4 << 30

    package let name = "vm"
    package let capabilities = Capabilities(
        bootsSnapshots: true,
        standardInput: true,
        resourceLimits: true,
        cheapCommands: true,
        timeToLiveGranularity: .milliseconds(1)
    )
    package let configuration: Configuration

    package init(configuration: Configuration) {
        self.configuration = configuration
    }

    /// The same with another kernel.
    package func with(kernel: String) -> VMProvider {
        var configuration = configuration
        configuration.kernel = kernel
        return VMProvider(configuration: configuration)
    }

    var sandboxes: HostSandboxes {
        HostSandboxes(
            kind: name, root: configuration.root, shimCommand: configuration.shimCommand, onPoint: configuration.probe)
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

    /// The end of what a guest and its kernel said on the console, as lines; and the file with more of it.
    package func console(of id: SandboxID) async throws -> (lines: [String], path: String) {
        try await onOwnThread { () throws(SandboxError) in
            let path = try sandboxes.directory(of: id).consolePath
            return (GuestEpitaph.lines(try SmallFile.read(path) ?? []), path)
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
}
