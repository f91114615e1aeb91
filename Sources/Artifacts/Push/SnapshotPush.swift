import Files
import Glibc
package import HelperInterface
package import OCI
import Synchronization

/// Puts an image into a registry as an artifact.
///
/// Chunks are compressed and sent several at a time; those that the registry has are not sent. The manifest comes when all
/// chunks are there and the whole file was found to have the checksum that its result document states; the index, and
/// with it the tag, comes last. Killed at any point, what was there under the tag is still there, and the next push goes
/// on: see `PushState`.
package struct SnapshotPush: Sendable {
    /// How far a push has come, in bytes of the image.
    package typealias Progress = @Sendable (_ done: UInt64, _ total: UInt64) -> Void

    package var file: String
    package var image: PullResult
    package var reference: ImageReference
    /// What a killed push goes on from.
    package var stateFile: String
    package var progress: Progress = { _, _ in }
    /// Chunks at a time. Each takes as much memory as its compressed bytes, 64 MiB at most.
    package var parallel = 3

    package init(file: String, image: PullResult, reference: ImageReference, stateFile: String? = nil) {
        self.file = file
        self.image = image
        self.reference = reference
        let target = Digest.sha256(of: Array("\(reference)".utf8)).hex.prefix(12)
        self.stateFile = stateFile ?? "\(file).push-\(target)"
    }

    /// Over connections of its own, which are shut down.
    package func run(connect: () throws -> ImageSources) async throws -> PushResult {
        let sources = try connect()
        return try await ending(sources) { try await run(with: sources) }
    }

    package func run(with sources: ImageSources) async throws -> PushResult {
        guard reference.digest == nil else {
            throw ArtifactError(.usage, "\(reference) names a digest, which is known only after a push: name a tag")
        }
        let destination = try sources.destination(for: reference)
        let file = try OpenFile(self.file, O_RDONLY)
        let status = try file.status()
        try check(status)
        let state = try PushState(
            path: stateFile,
            identity: .init(file: status, target: destination.name, sha256: image.sha256))
        let proof = Task { try await prove(state) }
        do {
            let result = try await push(
                Source(descriptor: file.descriptor, path: self.file, size: status.st_size), to: destination, state,
                proof)
            state.remove()
            return result
        } catch {
            // It is not waited for: to read a large file to its end takes long.
            proof.cancel()
            state.release()
            throw error
        }
    }

    private func check(_ status: stat) throws(ArtifactError) {
        guard status.st_mode & S_IFMT == S_IFREG, UInt64(clamping: status.st_size) == image.size, image.size > 0 else {
            throw ArtifactError(
                .changed,
                "\(file) has \(status.st_size) bytes, but its result document states \(image.size): it is another file")
        }
    }

    /// The file that is read, which stays open meanwhile.
    private struct Source: Sendable {
        let descriptor: Int32
        let path: String
        let size: Int

        var count: Int { (size + ArtifactFormat.chunkSize - 1) / ArtifactFormat.chunkSize }

        func range(_ index: Int) -> Range<Int> {
            let start = index * ArtifactFormat.chunkSize
            return start..<min(size, start + ArtifactFormat.chunkSize)
        }
    }

    private func push(
        _ source: Source, to destination: RegistryDestination, _ state: PushState, _ proof: Task<Void, any Error>
    ) async throws -> PushResult {
        let tally = Tally()
        try await send(ArtifactManifest(image: image, chunks: []).config, to: destination, tally)
        let chunks = try await pushChunks(source, to: destination, state, tally)
        try await proof.value
        let manifest = try ArtifactManifest(image: image, chunks: chunks).encoded()
        try await destination.put(manifest.bytes, manifest.descriptor)
        let index = try await index(with: manifest.descriptor, at: destination).encoded()
        try await destination.put(index.bytes, index.descriptor, tag: reference.tag ?? "latest")
        return PushResult(
            reference: reference.pinned(to: index.descriptor.digest).description,
            digest: index.descriptor.digest.description, manifestDigest: manifest.descriptor.digest.description,
            bytesSent: UInt64(tally.sent.load(ordering: .relaxed)),
            bytes: chunks.reduce(0) { $0 + UInt64(clamping: $1.blobSize) }, chunks: chunks.count,
            skipped: tally.skipped.load(ordering: .relaxed))
    }

    /// The snapshots for other platforms stay under the tag; an image that stands there does not.
    private func index(
        with manifest: Descriptor, at destination: RegistryDestination
    ) async throws -> ArtifactIndex {
        let standing: RegistryContents.Document
        do {
            standing = try await destination.contents.document(reference)
        } catch {
            guard error.code == .notFound else { throw error }
            return ArtifactIndex(manifests: [manifest])
        }
        guard let index = ArtifactIndex(standing), index.holdsSnapshotsOnly else {
            return ArtifactIndex(manifests: [manifest])
        }
        return index.replacing(with: manifest)
    }

    private func prove(_ state: PushState) async throws {
        guard !state.isProven else { return }
        let (file, stated) = (file, image.sha256)
        let found = try await onOwnThread { () throws -> String in try sha256(of: OpenFile(file, O_RDONLY)).hex }
        guard found == stated else {
            throw ArtifactError(
                .changed, "\(file) has the sha256 \(found), but its result document states \(stated): it was changed")
        }
        state.prove()
    }

    // MARK: Blobs

    private final class Tally: Sendable {
        let next = Atomic<Int>(0)
        let done = Atomic<Int>(0)
        let sent = Atomic<Int>(0)
        let skipped = Atomic<Int>(0)
        let chunks = Mutex<[Chunk]>([])
    }

    private func send(_ config: Descriptor, to destination: RegistryDestination, _ tally: Tally) async throws {
        if try await destination.hasBlob(config) { return }
        try await destination.upload(
            Array(image.config.utf8), config, sent: { tally.sent.add($0, ordering: .relaxed) })
    }

    /// All chunks in the registry, in order.
    private func pushChunks(
        _ source: Source, to destination: RegistryDestination, _ state: PushState, _ tally: Tally
    ) async throws -> [Chunk] {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<min(parallel, source.count) {
                group.addTask {
                    while case let index = tally.next.add(1, ordering: .relaxed).oldValue, index < source.count {
                        try Task.checkCancellation()
                        if let chunk = try await push(index, of: source, to: destination, state, tally) {
                            tally.chunks.withLock { $0.append(chunk) }
                        }
                        let done = tally.done.add(source.range(index).count, ordering: .relaxed).newValue
                        progress(UInt64(done), UInt64(source.size))
                    }
                }
            }
            try await group.waitForAll()
        }
        return tally.chunks.withLock { $0.sorted { $0.offset < $1.offset } }
    }

    /// One stretch of the image; nil when there is nothing in it.
    private func push(
        _ index: Int, of source: Source, to destination: RegistryDestination, _ state: PushState, _ tally: Tally
    ) async throws -> Chunk? {
        let range = source.range(index)
        if let known = state.packed(index, range: range) {
            guard let chunk = known else { return nil }
            if try await destination.hasBlob(chunk.descriptor) {
                tally.skipped.add(1, ordering: .relaxed)
                return chunk
            }
        }
        let packed = try await onOwnThread { () throws -> PackedChunk? in
            try packChunk(of: source.descriptor, path: source.path, range: range)
        }
        state.add(packed: index, packed?.chunk)
        guard let packed else { return nil }
        let blob = packed.chunk.blob
        if try await destination.hasBlob(packed.chunk.descriptor) {
            tally.skipped.add(1, ordering: .relaxed)
            return packed.chunk
        }
        try await destination.upload(
            packed.blob, packed.chunk.descriptor, resuming: state.location(of: blob),
            saved: { state.set(location: $0, of: blob) }, sent: { tally.sent.add($0, ordering: .relaxed) })
        return packed.chunk
    }
}
