/// What makes a guest of a booted agent: told once, before any command.
package struct GuestConfiguration: Hashable, Sendable {
    /// Name of the disk with the root file system, below `/dev`.
    package var disk: String
    /// Whether the root is mounted read-only; then nothing below it is made either, and mount points have to be there.
    package var isReadOnly: Bool
    /// Whether the file system is grown to its disk's size.
    package var growsRoot: Bool
    package var hostname: String
    package var network: Network?
    /// `NAME=value`, what every command finds unless it brings its own.
    package var environment: [String]
    /// `user`, `uid`, `user:group` or `uid:gid`, names as the image's `/etc/passwd` and `/etc/group` have them; empty
    /// for root.
    package var user: String
    /// Where commands begin that do not say it; made when it is missing. Empty for `/`.
    package var workingDirectory: String

    /// A static IPv4 configuration of `eth0`. The guest's `/etc/resolv.conf` and `/etc/hosts` are written to fit.
    package struct Network: Hashable, Sendable {
        /// Four bytes in the order in which they are written.
        package var address: UInt32
        package var prefixLength: UInt8
        package var gateway: UInt32
        package var nameServer: UInt32

        package init(address: UInt32, prefixLength: UInt8, gateway: UInt32, nameServer: UInt32) {
            self.address = address
            self.prefixLength = prefixLength
            self.gateway = gateway
            self.nameServer = nameServer
        }

        /// What QEMU's user network gives: 10.0.2.15/24, 10.0.2.2, 10.0.2.3.
        package static let qemuUser = Network(
            address: 0x0A00_020F, prefixLength: 24, gateway: 0x0A00_0202, nameServer: 0x0A00_0203)
    }

    package init(
        disk: String = "vda", isReadOnly: Bool = false, growsRoot: Bool = true, hostname: String = "snapwf",
        network: Network? = .qemuUser, environment: [String] = [], user: String = "", workingDirectory: String = ""
    ) {
        self.disk = disk
        self.isReadOnly = isReadOnly
        self.growsRoot = growsRoot
        self.hostname = hostname
        self.network = network
        self.environment = environment
        self.user = user
        self.workingDirectory = workingDirectory
    }
}

/// A command to be run in the guest's root.
package struct CommandRequest: Hashable, Sendable {
    /// The program, looked up in the command's `PATH` inside the root when it has no slash, and its arguments.
    package var arguments: [String]
    /// `NAME=value`, over what the configuration gives.
    package var environment: [String]
    /// `nil`: the configuration's.
    package var workingDirectory: String?
    /// `nil`: the configuration's.
    package var user: String?
    /// Whether input messages follow; else the command reads end of file at once.
    package var hasInput: Bool
    /// `nil`: pipes, output and errors apart. Else a terminal of this size; everything comes as output then.
    package var terminal: TerminalSize?

    package init(
        _ arguments: [String], environment: [String] = [], workingDirectory: String? = nil, user: String? = nil,
        hasInput: Bool = false, terminal: TerminalSize? = nil
    ) {
        self.arguments = arguments
        self.environment = environment
        self.workingDirectory = workingDirectory
        self.user = user
        self.hasInput = hasInput
        self.terminal = terminal
    }
}

/// In characters.
package struct TerminalSize: Hashable, Sendable {
    package var rows: UInt16
    package var columns: UInt16

    package init(rows: UInt16, columns: UInt16) {
        self.rows = rows
        self.columns = columns
    }
}
