import ArgumentParser
import Artifacts
import Files
import FoundationEssentials
import HelperInterface
import Logging
import OCI

struct PushCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "push",
        abstract: "Pushes an ext4 image to a registry, as an OCI artifact.",
        discussion: """
            The image goes in compressed chunks of 64 MiB; what the registry has is not sent. A push that was interrupted \
            goes on where it stood when it is repeated: what it needs for that is kept beside the image until then.
            """)

    @Argument(help: "The image that snapshot pull wrote.")
    var file: String

    @Argument(help: "Where to, such as ghcr.io/acme/rootfs:1.2.")
    var reference: String

    @Option(help: "The document that snapshot pull wrote. Default: FILE.json beside the image.")
    var result: String?

    @Option(help: ArgumentHelp("Where to keep what an interrupted push goes on from.", valueName: "file"))
    var state: String?

    @OptionGroup var access: AccessOptions

    @Option(help: "How to report: auto, plain, json or none.")
    var progress: ProgressMode = .auto

    @MainActor
    func run() async throws {
        let report = Reporter(mode: progress)
        try await report.reportingErrors(of: file) { try await push(report) }
    }

    private func push(_ report: Reporter) async throws {
        let reference = try ImageReference(parsing: reference)
        // Read first: the file of credentials goes, whatever becomes of the push.
        let credentials = try await access.credentialStore(for: reference)
        var push = SnapshotPush(file: file, image: try document(), reference: reference, stateFile: state)
        push.progress = { report.progress(PullProgress(phase: .upload, bytes: $0, total: $1)) }
        let logger = Logger(label: "snapshot", factory: { _ in WarningHandler(report) })
        let options = access.options
        let pushed = try await push.run {
            ImageSources(options: options, credentials: credentials, logger: logger)
        }
        try report.pushed(pushed)
    }

    private func document() throws -> PullResult {
        let path = result ?? file + ".json"
        guard let bytes = try readFile(path, limit: Sidecar.largest) else {
            throw ArtifactError(
                .noResult,
                "there is no \(path), which says what the image is: name the document that snapshot pull wrote with "
                    + "--result")
        }
        do {
            return try JSONDecoder().decode(PullResult.self, from: Data(bytes))
        } catch {
            throw ArtifactError(.noResult, "\(path) is no document that snapshot pull wrote: \(error)")
        }
    }
}
