import ArgumentParser
import EXT4
import Glibc
import HelperInterface
import Logging
import OCI
import RootFS

struct PullCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pull",
        abstract: "Unpacks an image into an ext4 file.",
        discussion: """
            The file appears under its name only when it is complete; until then it is called FILE.partial. \
            The image's configuration and the result stand beside it as FILE.json.
            """)

    @Argument(
        help: """
            The image: a reference such as ghcr.io/acme/app:1.2, oci:DIRECTORY[:TAG], oci-archive:FILE[:TAG], \
            docker-archive:FILE[:NAME:TAG], or - for an archive of either kind on standard input.
            """)
    var image: String

    @Option(name: .shortAndLong, help: "The ext4 file to write.")
    var output: String

    @OptionGroup var format: FormatOptions

    @Option(help: "The platform to choose from an index.")
    var platform: PlatformArgument = .init(platform: .host)

    @OptionGroup var access: AccessOptions

    @OptionGroup var inputs: InputOptions

    @Option(help: "How to report: auto, plain, json or none.")
    var progress: ProgressMode = .auto

    /// For tests and measurements: who inflates gzip. Never changes the result.
    @Option(help: .hidden)
    var gzip: GzipDecoder = .fastest

    /// For tests and measurements: how many threads work on a layer. Never changes the result.
    @Option(help: .hidden)
    var threads: Int?

    @OptionGroup(title: "Limits, each a refusal that names its flag") var limits: LimitOptions

    @MainActor
    func run() async throws {
        let report = Reporter(mode: progress)
        let logger = Logger(label: "snapshot", factory: { _ in WarningHandler(report) })
        var pull = Pull(
            image: image, output: output, size: format.size?.bytes, platform: platform.platform, report: report,
            logger: logger)
        pull.verity = format.verity
        pull.sourceDateEpoch = try format.sourceDateEpoch()
        pull.options = access.options
        pull.options.documents = limits.documents
        pull.limits = limits.limits
        pull.mirrors = inputs.mirrors
        pull.cacheDirectory = inputs.cache
        pull.access = access
        pull.execution.gzip = gzip
        if let threads { pull.execution.threads = threads }
        try await pull.run()
    }
}

/// A number of bytes as people write it: `512MiB`, `10GB`, `1073741824`.
struct ByteCount: ExpressibleByArgument {
    let bytes: UInt64

    init?(argument: String) {
        guard let bytes = parseByteCount(argument) else { return nil }
        self.bytes = bytes
    }
}

struct PlatformArgument: ExpressibleByArgument {
    let platform: Platform

    init(platform: Platform) { self.platform = platform }

    init?(argument: String) {
        guard let platform = try? Platform(parsing: argument) else { return nil }
        self.platform = platform
    }

    var defaultValueDescription: String { platform.description }
}

extension GzipDecoder: ExpressibleByArgument {}

enum ProgressMode: String, ExpressibleByArgument, CaseIterable { case auto, plain, json, none }

/// The process's environment as a dictionary.
func environment() -> [String: String] {
    var result: [String: String] = [:]
    var entry = environ
    while let text = entry.pointee {
        let pair = String(cString: text).split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        if pair.count == 2 { result[String(pair[0])] = String(pair[1]) }
        entry += 1
    }
    return result
}
