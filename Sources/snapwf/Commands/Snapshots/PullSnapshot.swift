import ArgumentParser
import Artifacts
import Files
import FoundationEssentials
import HelperInterface
import Logging
import OCI
import SnapshotSteps

struct PullSnapshot: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pull",
        abstract: "Brings a snapshot from a registry into the catalog.",
        discussion: """
            For what snapwf snapshots push or snapwf run --push put there. All of it is verified. A pull that was \
            interrupted goes on where it stood when it is repeated.
            """)

    @Argument(help: "The snapshot, such as ghcr.io/acme/rootfs:1.2.")
    var reference: String

    @Option(help: "A name for the snapshot; the one that had it loses it.")
    var name: String?

    @Option(help: "The platform to choose where there are several, such as linux/arm64.")
    var platform = Platform.host.description

    @OptionGroup var access: RegistryAccess
    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .auto)
        try await reporter.reportingErrors {
            try await inSnapshotTerms {
                if let name { try Catalog.checkName(name) }
                let home = try Places.stateDirectory(ProcessInfo.processInfo.environment)
                let points = CrashPoints(ProcessInfo.processInfo.environment)
                let catalog = try Catalog(state: try StateDirectory(opening: home)) { points?.pass($0) }
                var snapshot = try await pull(into: catalog, reporter)
                if let name {
                    try await catalog.tag(snapshot, as: name)
                    snapshot = try await catalog.find(snapshot.id)
                }
                try tell(snapshot, in: catalog)
            }
        }
    }

    @MainActor
    private func pull(into catalog: Catalog, _ reporter: RunReporter) async throws -> Snapshot {
        let reference = try ImageReference(parsing: reference)
        let logger = Logger(label: "snapwf")
        let access = access
        reporter.show(PullProgress(phase: .resolve, bytes: 0, total: 0))
        let artifact = try await findArtifact(
            reference, platform: try Platform(parsing: platform), connect: { access.sources(logger: logger) })
        if let known = try await catalog.holding(artifact.manifest.image) {
            reporter.note("\(known.id) is here already, with the same sha256", always: false)
            return known
        }
        return try await catalog.bring(
            artifact, origin: .pulled(reference: "\(artifact.reference)"), logger: logger,
            progress: { reporter.show(PullProgress(phase: $0, bytes: $1, total: $2)) }, waits: false,
            connect: { access.sources(cache: $0, logger: logger) })
    }

    private func tell(_ snapshot: Snapshot, in catalog: Catalog) throws {
        if options.json {
            let facts = SnapshotFacts(snapshot, bytesOnDisk: catalog.bytesOnDisk(of: snapshot))
            try deliver(JSONText.document(SnapshotList(snapshots: [facts])))
        } else {
            try deliver(options.quiet ? snapshot.id + "\n" : "pulled \(snapshot.id): \(snapshot.path)\n")
        }
    }
}
