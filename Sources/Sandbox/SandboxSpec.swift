/// The name a provider gave a sandbox. Opaque outside the provider.
package struct SandboxID: RawRepresentable, Hashable, Codable, Sendable, CustomStringConvertible {
    package let rawValue: String

    package init(rawValue: String) {
        self.rawValue = rawValue
    }

    package init(_ rawValue: String) {
        self.rawValue = rawValue
    }

    package var description: String { rawValue }
}

/// A file or directory of the host that the sandbox sees read-only.
package struct ReadOnlyInput: Hashable, Codable, Sendable {
    /// Absolute path on the host; it must exist when the sandbox is created, and stay.
    package var hostPath: String
    /// Absolute path inside, outside of the places that the provider fills itself
    /// (`/work`, `/tmp`, `/usr`, `/proc`, `/dev`, `/etc` …).
    package var guestPath: String

    package init(hostPath: String, guestPath: String) {
        self.hostPath = hostPath
        self.guestPath = guestPath
    }
}

/// A snapshot that a sandbox boots from: a whole ext4 file of this host, which nobody changes.
package struct SnapshotRoot: Hashable, Sendable {
    /// The image; an absolute path.
    package var path: String
    /// A file on which a shared lock (flock(2)) is held as long as the sandbox runs, for whoever removes snapshots to look
    /// at; `nil`: nobody removes this one.
    package var useLock: String?
    /// `NAME=value`, as the image's config has it.
    package var environment: [String]
    /// As the image's config has it: `user`, `uid`, `user:group` or `uid:gid`; empty for root.
    package var user: String
    /// Where commands begin that do not say it; empty for `/`.
    package var workingDirectory: String

    package init(
        path: String, useLock: String? = nil, environment: [String] = [], user: String = "",
        workingDirectory: String = ""
    ) {
        self.path = path
        self.useLock = useLock
        self.environment = environment
        self.user = user
        self.workingDirectory = workingDirectory
    }
}

/// What is asked of a provider when a sandbox is created.
package struct SandboxSpec: Sendable {
    /// A label for people. Not a key: whether it is unique differs from provider to provider.
    package var name: String
    /// What finds the sandbox again after a crash. Listed in clear text: never a secret in it.
    package var labels: [String: String]
    /// Virtual processors; `nil` takes the provider's default.
    package var vcpus: Int?
    /// Memory in bytes; `nil` takes the provider's default.
    package var memoryBytes: UInt64?
    /// Disk in bytes; `nil` takes the provider's default.
    package var diskBytes: UInt64?
    /// Counted from creation. When it is over the provider ends the sandbox, whoever lives or not.
    package var timeToLive: Duration
    /// Only for providers with the capability ``Capabilities/hostInputs``; must be empty elsewhere.
    package var inputs: [ReadOnlyInput]
    /// The image that the sandbox boots from, as its provider pulls it; `nil` takes the provider's default. Refused
    /// without the capability ``Capabilities/images``.
    package var imageRef: String?
    /// The snapshot that the sandbox boots from; `nil` takes the provider's default. Refused without the capability
    /// ``Capabilities/bootsSnapshots``.
    package var snapshot: SnapshotRoot?
    /// Whether the sandbox reaches any network; refused by providers that cannot keep it from it.
    package var hasNetwork = true

    package init(
        name: String,
        labels: [String: String] = [:],
        vcpus: Int? = nil,
        memoryBytes: UInt64? = nil,
        diskBytes: UInt64? = nil,
        timeToLive: Duration,
        inputs: [ReadOnlyInput] = [],
        imageRef: String? = nil,
        snapshot: SnapshotRoot? = nil
    ) {
        self.name = name
        self.labels = labels
        self.vcpus = vcpus
        self.memoryBytes = memoryBytes
        self.diskBytes = diskBytes
        self.timeToLive = timeToLive
        self.inputs = inputs
        self.imageRef = imageRef
        self.snapshot = snapshot
    }
}
