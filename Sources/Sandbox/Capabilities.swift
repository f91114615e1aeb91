/// What a provider can do, known before anything is created: a lack is data here and never a surprise later.
package struct Capabilities: Hashable, Sendable {
    /// Files in the sandbox are files of this host: ``SandboxProvider/hostPath(of:in:)`` answers.
    package var hostFiles: Bool
    /// ``SandboxSpec/inputs`` are honoured.
    package var hostInputs: Bool
    /// ``SandboxSpec/imageRef`` is honoured.
    package var images: Bool
    /// ``SandboxSpec/snapshot`` and ``SandboxSpec/hasNetwork`` are honoured.
    package var bootsSnapshots: Bool
    /// The provider can capture a sandbox as a snapshot of its own.
    package var snapshots: Bool
    /// ``ShortCommand/standardInput`` is delivered. Where it is not, a command that has some is refused.
    package var standardInput: Bool
    /// Whether vcpus, memory and disk are limits rather than wishes.
    package var resourceLimits: Bool
    /// Asking costs next to nothing, so a durable command may be asked about often.
    package var cheapCommands: Bool
    /// The longest time to live that can be asked for; `nil`: no limit.
    package var maximumTimeToLive: Duration?
    /// Times to live are rounded up to a multiple of this.
    package var timeToLiveGranularity: Duration
    /// How long a sandbox may exist before ``SandboxProvider/list()`` shows it. After a creation in doubt an empty list
    /// that is younger proves nothing.
    package var listingLag: Duration

    package init(
        hostFiles: Bool = false,
        hostInputs: Bool = false,
        images: Bool = false,
        bootsSnapshots: Bool = false,
        snapshots: Bool = false,
        standardInput: Bool = false,
        resourceLimits: Bool = false,
        cheapCommands: Bool = false,
        maximumTimeToLive: Duration? = nil,
        timeToLiveGranularity: Duration = .seconds(1),
        listingLag: Duration = .zero
    ) {
        self.hostFiles = hostFiles
        self.hostInputs = hostInputs
        self.images = images
        self.bootsSnapshots = bootsSnapshots
        self.snapshots = snapshots
        self.standardInput = standardInput
        self.resourceLimits = resourceLimits
        self.cheapCommands = cheapCommands
        self.maximumTimeToLive = maximumTimeToLive
        self.timeToLiveGranularity = timeToLiveGranularity
        self.listingLag = listingLag
    }
}
