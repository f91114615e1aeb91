import ArgumentParser
import Artifacts
import Files
import FoundationEssentials
import HelperInterface
import Logging
import OCI
import SnapshotSteps

struct PushSnapshot: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "push",
        abstract: "Pushes a snapshot to a registry, as an OCI artifact.",
        discussion: """
            The image goes in compressed chunks of 64 MiB; what the registry has is not sent. A push that was interrupted \
            goes on where it stood when it is repeated.
            """)

    @Argument(help: "The snapshot: an id, a prefix of it, a name, a key, a SHA-256, or @last.", completion: .snapshots)
    var snapshot: String

    @Argument(help: "Where to, such as ghcr.io/acme/rootfs:1.2.")
    var reference: String

    @OptionGroup var access: RegistryAccess
    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .auto)
        try await reporter.reportingErrors {
            try await inSnapshotTerms { try await push(reporter) }
        }
    }

    @MainActor
    private func push(_ reporter: RunReporter) async throws {
        let reference = try ImageReference(parsing: reference)
        let (catalog, found) = try await RecordedSnapshots.find(snapshot)
        let use = try await catalog.use(found, for: "push to \(reference)")
        defer { use.end() }
        let snapshot = use.snapshot
        var push = SnapshotPush(
            file: snapshot.path, image: try await catalog.result(of: snapshot), reference: reference)
        push.progress = { reporter.show(PullProgress(phase: .upload, bytes: $0, total: $1)) }
        let access = access
        let result = try await push.run { access.sources(logger: Logger(label: "snapwf")) }
        // What is pushed stays pushed, also where nobody can write that down.
        try await catalog.notePush(of: snapshot, to: result.reference)
        if options.json {
            try deliver(JSONText.document(Pushed(snapshot: snapshot.id, pushed: result)))
        } else if options.quiet {
            try deliver(result.reference + "\n")
        } else {
            let sent = byteCountText(result.bytesSent)
            try deliver(
                "pushed \(snapshot.id) to \(result.reference): \(result.chunks) chunk\(result.chunks == 1 ? "" : "s"), \(result.skipped) were there, "
                    + "\(sent) sent\n")
        }
        try await SharedRecords.tell(of: snapshot, place: result.reference)
    }

    /// `snapwf snapshots push --json`
    private struct Pushed: Encodable {
        let schema = 1
        let snapshot: String
        let pushed: PushResult
    }
}
