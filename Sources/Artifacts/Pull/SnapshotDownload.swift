import Files
import FoundationEssentials
import Glibc
package import HelperInterface
package import Logging
package import OCI
import Synchronization

/// Brings a snapshot from a registry into a file.
///
/// Chunks come several at a time, each verified as it came and as it was unpacked, and what none of them covers stays a
/// hole. Killed at any point, the output is either not there or whole; the next download to the same output goes on where
/// this one ended (see `PullState`). The document `<output>.json`, in the form of that of `snapshot pull`, is renamed first.
package struct SnapshotDownload: Sendable {
    package typealias Progress = @Sendable (_ phase: PullProgress.Phase, _ done: UInt64, _ total: UInt64) -> Void

    package var artifact: FoundArtifact
    package var output: String
    package var progress: Progress = { _, _, _ in }
    /// Chunks at a time, about 16 MiB of memory each.
    package var parallel = 4
    package var logger: Logger

    package init(_ artifact: FoundArtifact, output: String, logger: Logger) {
        self.artifact = artifact
        self.output = output
        self.logger = logger
    }

    /// - Parameter connect: gives connections that keep blobs in a cache; they are shut down here.
    package func run(connect: (BlobCache) throws -> ImageSources) async throws -> PullResult {
        var image = artifact.manifest.image
        let state = try PullState(
            for: output, identity: artifact.manifestDigest.description, size: Int(clamping: image.size))
        let cache = try BlobCache(directory: state.directory, logger: logger)
        let sources = try connect(cache)
        try await ending(sources) {
            try await fetch(artifact, with: sources, cache: cache, state)
        }
        image.output = output
        let result = image
        progress(.checksum, image.size, image.size)
        try await onOwnThread { () throws in try publish(result, state) }
        return result
    }

    // MARK: Chunks

    private final class Tally: Sendable {
        let next = Atomic<Int>(0)
        let done: Atomic<UInt64>
        let total: UInt64

        init(done: UInt64, total: UInt64) {
            self.done = Atomic(done)
            self.total = total
        }
    }

    private func fetch(
        _ artifact: FoundArtifact, with sources: ImageSources, cache: BlobCache, _ state: PullState
    ) async throws {
        let all = artifact.manifest.chunks
        let missing = all.filter { !state.isFinished($0) }
        func bytes(_ chunks: [Chunk]) -> UInt64 { chunks.reduce(0) { $0 &+ UInt64(clamping: $1.blobSize) } }
        let tally = Tally(done: bytes(all) &- bytes(missing), total: bytes(all))
        let source = sources.source(for: artifact.reference)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<min(parallel, missing.count) {
                group.addTask {
                    while case let index = tally.next.add(1, ordering: .relaxed).oldValue, index < missing.count {
                        try Task.checkCancellation()
                        try await fetch(missing[index], from: source, cache: cache, state, tally)
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    /// One chunk; again when what an earlier process kept of it was damaged.
    private func fetch(
        _ chunk: Chunk, from source: any ImageSource, cache: BlobCache, _ state: PullState, _ tally: Tally
    ) async throws {
        var tries = 0
        while true {
            tries += 1
            do {
                let blob = try source.openLayer(chunk.descriptor)
                try await withTaskCancellationHandler {
                    try await onOwnThread { () throws in
                        try state.clear(chunk)
                        try unpackChunk(chunk, from: blob, into: state.descriptor, path: state.image) { count in
                            let done = tally.done.add(UInt64(count), ordering: .relaxed).newValue
                            progress(.download, done, tally.total)
                        }
                        try state.finish(chunk)
                    }
                } onCancel: {
                    blob.close()
                }
                cache.forget(chunk.blob)
                return
            } catch {
                // Bytes that were kept may be wrong in ways that unpacking sees before the digest does.
                guard tries < 3, !Task.isCancelled, Self.mayComeFromDamage(error), cache.removeDamaged() else {
                    throw error
                }
            }
        }
    }

    private static func mayComeFromDamage(_ error: any Error) -> Bool {
        switch error {
        case let error as OCIError: error.isRetryable || error.code == .digestMismatch || error.code == .sizeMismatch
        case let error as ArtifactError: error.code == .invalidArtifact || error.code == .damaged
        default: false
        }
    }

    // MARK: The end

    private func publish(_ result: PullResult, _ state: PullState) throws {
        let file = try OpenFile(state.image, O_RDONLY)
        let found = try sha256(of: file).hex
        guard found == result.sha256 else {
            // Every chunk is what the manifest says, or the disk is not: neither is mended by going on with this.
            try removeTree(state.directory)
            throw ArtifactError(
                .damaged,
                "the snapshot \(artifact.reference) was put together, but its sha256 is \(found) and not the stated "
                    + "\(result.sha256): it was pushed wrong, or changed on this disk. It was removed")
        }
        try file.sync()
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try replaceFile(output + ".json", Array(try encoder.encode(result)) + [UInt8(ascii: "\n")], mode: 0o644)
        try renameDurably(state.image, to: output)
        try removeTree(state.directory)
    }
}
