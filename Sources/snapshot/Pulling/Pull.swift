import EXT4
import Files
import FoundationEssentials
import Glibc
import HelperInterface
import Logging
import OCI
import RootFS
import Synchronization

/// One pull: resolve, convert, checksum, give the file its name.
///
/// Killed at any point, the output is either not there or whole; what was half done is called `.partial` (and the
/// next pull to the same output starts it anew).
@MainActor
struct Pull {
    var image: String
    var output: String
    var size: UInt64?
    /// Whether a dm-verity hash tree is appended.
    var verity = false
    /// The file system's date in seconds since 1970; nil for the image's.
    var sourceDateEpoch: Int64?
    var platform: Platform
    var report: Reporter
    var logger: Logger
    var options = RegistryOptions()
    var access = AccessOptions()
    /// As a person writes them: `HOST=MIRROR[/prefix]`.
    var mirrors: [String] = []
    var cacheDirectory: String?
    var limits = Limits()
    var execution = Execution()

    init(
        image: String, output: String, size: UInt64?, platform: Platform, report: Reporter, logger: Logger
    ) {
        self.image = image
        self.output = output
        self.size = size
        self.platform = platform
        self.report = report
        self.logger = logger
    }

    func run() async throws(Reported) {
        try await report.reportingErrors(of: output) { try await pull() }
    }

    private func pull() async throws {
        let reference = try ImageReference(parsing: image)
        var options = options
        options.mirrors = try mirrors.map { (text) throws(OCIError) in try RegistryMirror(parsing: text) }
        let cache = try cacheDirectory.map { (directory) throws(OCIError) in
            try BlobCache(directory: directory, logger: logger)
        }
        let credentials = try await access.credentialStore(for: reference)
        let sources = ImageSources(
            options: options, credentials: credentials, cache: cache,
            temporaryDirectory: parentDirectory(of: output), logger: logger)
        do {
            try await pull(reference, from: sources)
        } catch {
            await sources.shutdown()
            throw error
        }
        await sources.shutdown()
    }

    private func pull(_ reference: ImageReference, from sources: ImageSources) async throws {
        let source = sources.source(for: reference)
        report.progress(PullProgress(phase: .resolve, bytes: 0, total: 0))
        let resolved = try await source.resolve(reference, platform: platform)
        let key = SnapshotKey(
            manifestDigest: resolved.manifestDigest.description, platform: resolved.platform.description, size: size,
            verity: verity, sourceDateEpoch: sourceDateEpoch)

        // From here on this thread blocks. It is the main thread, which the cooperative pool does not need.
        let file = try OutputFile(path: output)
        let result: PullResult
        do {
            result = try convert(resolved, key: key, source: source, sources: sources, into: file)
            try file.publish(sidecar: encode(result))
        } catch {
            file.discard()
            throw error
        }
        try report.result(result)
    }

    /// Converts; again when it failed on bytes of the cache or a mirror, which have been set aside then.
    private func convert(
        _ resolved: ResolvedImage, key: SnapshotKey, source: any ImageSource, sources: ImageSources,
        into file: borrowing OutputFile
    ) throws -> PullResult {
        // Each time at least one layer comes from somewhere else; a cache that is damaged meanwhile is not waited out.
        for _ in 0...resolved.layers.count {
            do {
                return try convert(resolved, key: key, source: source, into: file)
            } catch {
                guard HelperFailure.mayComeFromDamagedInput(error), sources.setAsideDoubtful() else { throw error }
                report.warning("the image is read again, without what the cache or a mirror gave: \(error)")
                try file.reset()
            }
        }
        return try convert(resolved, key: key, source: source, into: file)
    }

    private func convert(
        _ resolved: ResolvedImage, key: SnapshotKey, source: any ImageSource, into file: borrowing OutputFile
    ) throws -> PullResult {
        let total = resolved.layers.reduce(UInt64(0)) { $0 &+ UInt64(clamping: $1.descriptor.size) }
        let counter = LayerByteCounter(total: total, report: report)
        let layers = try resolved.layers.map { try layer($0, source: source, counter: counter) }
        let format = Format(
            uuid: key.uuid, hashSeed: key.hashSeed, timestamp: superblockTime(resolved), size: size)
        let warnings = WarningList(report)
        var converter = Converter(
            limits: limits, temporaryDirectory: parentDirectory(of: output), warn: { warnings.add($0) })
        converter.execution = execution
        let summary = try converter.convert(layers: layers, into: file.descriptor, format: format)

        report.progress(PullProgress(phase: .checksum, bytes: total, total: total))
        let tree = verity ? try file.appendVerity(key: key, dataBlocks: summary.image.blockCount) : nil
        let (digest, bytes) = try file.checksumAndSync()
        var result = PullResult(
            output: output, sha256: digest, size: bytes, uuid: uuidText(key.uuid), key: key.hex,
            image: resolved.reference.description, manifestDigest: resolved.manifestDigest.description,
            platform: resolved.platform.description,
            entries: summary.directories + summary.files + summary.otherInodes + summary.hardLinks, layerBytes: total,
            warnings: warnings.first, config: String(decoding: resolved.configBytes, as: UTF8.self))
        result.verity = tree
        result.manifestType = resolved.manifest?.mediaType.rawValue
        result.manifestSize = resolved.manifest?.size
        result.sourceDateEpoch = sourceDateEpoch
        return result
    }

    /// The date that was asked for, else when the image says that it was made; 1970 where it says nothing. A date in the
    /// future is a date like others: the writer sees to it that e2fsck takes it for no broken clock.
    private func superblockTime(_ image: ResolvedImage) -> Int64 {
        sourceDateEpoch ?? min(max(image.created ?? 0, 0), Timestamp.latestUndoubted.seconds)
    }

    private func layer(
        _ layer: ImageLayer, source: any ImageSource, counter: LayerByteCounter
    ) throws(OCIError) -> Layer {
        guard layer.diffID.algorithm == .sha256 else {
            throw OCIError(
                .unsupportedMediaType,
                "layer \(layer.descriptor.digest) is named by a \(layer.diffID.algorithm.rawValue) diffID; only sha256 is "
                    + "understood")
        }
        let compression: Compression =
            switch layer.compression {
            case .none: .none
            case .gzip: .gzip
            case .zstd: .zstd
            }
        return Layer(
            name: layer.descriptor.digest.description, compression: compression,
            diffID: layer.diffID.bytes,
            open: { try BlobLayerSource(source.openLayer(layer.descriptor), counter: counter) })
    }

    private func encode(_ result: PullResult) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(result)) + [UInt8(ascii: "\n")]
    }
}

/// Gives the converter a verified blob, and counts what passes.
private final class BlobLayerSource: LayerSource {
    private let blob: any BlobReader
    private let counter: LayerByteCounter

    init(_ blob: any BlobReader, counter: LayerByteCounter) {
        self.blob = blob
        self.counter = counter
    }

    deinit { blob.close() }

    var cancellation: (@Sendable () -> Void)? {
        let blob = blob
        return { blob.close() }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        let count = try blob.read(into: buffer)
        counter.add(count)
        return count
    }
}

/// Passes warnings on as they come and keeps the first ones for the result.
private final class WarningList: Sendable {
    private let report: Reporter
    private let kept = Mutex<[String]>([])
    private static let maximumKept = 100

    init(_ report: Reporter) { self.report = report }

    var first: [String] { kept.withLock { $0 } }

    func add(_ warning: Warning) {
        report.warning(warning.description)
        kept.withLock { if $0.count < Self.maximumKept { $0.append(warning.description) } }
    }
}
