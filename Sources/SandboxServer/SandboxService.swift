package import Logging
package import Sandbox

/// What `depot.sandbox.v1.SandboxService` answers, from any provider.
///
/// It keeps nothing of its own: all it knows of a sandbox it asks of the provider, so it can be killed and started
/// again at any moment, and several can serve one provider. What is lost then are the calls under way; a command
/// that was not detached ends with its call.
package struct SandboxService: Sendable {
    let provider: any SandboxProvider
    let snapshots: (any SnapshotStore)?
    /// Told as the owner of everything here.
    let organization: String
    let logger: Logger

    /// Sandboxes being created: each is a burst of work for every processor.
    let creations: Admission
    /// Short calls for files, each a process or two in the sandbox.
    let fileCalls: Admission
    /// Calls that last as long as their client likes.
    let streams: Admission

    /// - Parameters:
    ///   - snapshots: `nil`: the calls for snapshots answer `unimplemented`.
    ///   - maximumStreams: commands, reads and writes of files at once; one more is refused.
    package init(
        provider: any SandboxProvider,
        snapshots: (any SnapshotStore)? = nil,
        organization: String = "local",
        maximumStreams: Int = 1024,
        logger: Logger
    ) {
        self.provider = provider
        self.snapshots = snapshots
        self.organization = organization
        self.logger = logger
        creations = Admission("sandboxes being created", limit: 4, line: 4096)
        fileCalls = Admission("calls for files", limit: 16, line: 4096)
        streams = Admission("commands and transfers", limit: maximumStreams, line: 0)
    }
}
