import ArgumentParser
import Artifacts
import Files
import HelperInterface
import Logging
import OCI

struct DownloadCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "download",
        abstract: "Brings an ext4 image from a registry that snapshot push put there.",
        discussion: """
            The file appears under its name only when it is whole and has the checksum that was pushed; until then it \
            grows in FILE.download. A download that was interrupted goes on where it stood when it is repeated.
            """)

    @Argument(help: "The snapshot, such as ghcr.io/acme/rootfs:1.2.")
    var reference: String

    @Option(name: .shortAndLong, help: "The ext4 file to write.")
    var output: String

    @Option(help: "The platform to choose from an index.")
    var platform: PlatformArgument = .init(platform: .host)

    @OptionGroup var access: AccessOptions

    @Option(help: "How to report: auto, plain, json or none.")
    var progress: ProgressMode = .auto

    @MainActor
    func run() async throws {
        let report = Reporter(mode: progress)
        try await report.reportingErrors(of: output) { try await download(report) }
    }

    private func download(_ report: Reporter) async throws {
        let reference = try ImageReference(parsing: reference)
        let credentials = try await access.credentialStore(for: reference)
        let logger = Logger(label: "snapshot", factory: { _ in WarningHandler(report) })
        let options = access.options
        let connect: (BlobCache?) -> ImageSources = { cache in
            ImageSources(options: options, credentials: credentials, cache: cache, logger: logger)
        }
        report.progress(PullProgress(phase: .resolve, bytes: 0, total: 0))
        let artifact = try await findArtifact(reference, platform: platform.platform, connect: { connect(nil) })
        var download = SnapshotDownload(artifact, output: output, logger: logger)
        download.progress = { report.progress(PullProgress(phase: $0, bytes: $1, total: $2)) }
        let result = try await download.run(connect: connect)
        try report.result(result)
    }
}
