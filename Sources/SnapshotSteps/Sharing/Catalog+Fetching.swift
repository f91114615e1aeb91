package import Artifacts
import Files
import Glibc
import HelperInterface
package import Logging
package import OCI

extension Catalog {
    /// Brings the snapshot of an artifact here, unless it is here with the same bytes: verified as a run's is.
    ///
    /// Killed anywhere, the next one goes on where this one stood. Several at once on one machine fetch it once: the others
    /// wait.
    ///
    /// - Parameters:
    ///   - origin: what is believed of it: for one that another installation recorded, the run that made it.
    ///   - connect: gives connections that keep blobs in a cache.
    /// - Throws: `OCIError`, `ArtifactError`, `SnapshotError`.
    package func bring(
        _ artifact: FoundArtifact, origin: SnapshotOrigin, logger: Logger,
        progress: @escaping SnapshotDownload.Progress = { _, _, _ in }, waits: Bool = true,
        connect: (BlobCache) throws -> ImageSources
    ) async throws -> Snapshot {
        let image = artifact.manifest.image
        // As long as a pull may take.
        let patience = ContinuousClock.now + .seconds(24 * 3600)
        while true {
            if let known = try await here(image, origin: origin) {
                try await clear(artifact)
                return known
            }
            let place: IncomingPlace
            do {
                place = try await incomingPlace(artifact.manifestDigest.hex)
            } catch let error as SnapshotError where waits && error.isRetryable && ContinuousClock.now < patience {
                try await Task.sleep(for: .milliseconds(500))
                continue
            }
            defer { place.close() }
            // Whoever had the place may just have finished.
            if let known = try await here(image, origin: origin) {
                try await onOwnThread { try place.remove() }
                return known
            }
            var download = SnapshotDownload(artifact, output: place.directory + "/image", logger: logger)
            download.progress = progress
            let result = try await download.run(connect: connect)
            probe("fetch:download.after")
            return try await adopt(result, file: result.output, from: place, origin: origin)
        }
    }

    /// Removes what one that died gathered of an artifact that is here now; nothing while somebody is at it.
    private func clear(_ artifact: FoundArtifact) async throws {
        let name = artifact.manifestDigest.hex
        guard fileExists(layout.incoming(ofPull: name)) else { return }
        guard let place = try? await incomingPlace(name) else { return }
        defer { place.close() }
        try await onOwnThread { try place.remove() }
    }

    /// What is here of an image that a registry offers; also where an earlier one died before the row.
    private func here(_ image: PullResult, origin: SnapshotOrigin) async throws -> Snapshot? {
        if let known = try await holding(image) {
            if origin.run != nil { try await vouch(for: known, origin) }
            return known
        }
        let id: String = "snap-" + image.key.prefix(16)
        let isWhole = try await onOwnThread { [layout, database] in
            guard try database.snapshot(key: image.key) == nil else { return false }
            return try layout.document(inWhole: id)?.sha256 == image.sha256
        }
        guard isWhole else { return nil }
        let snapshot = try await takeBack(id)
        if origin.run != nil { try await vouch(for: snapshot, origin) }
        return snapshot
    }

    /// Brings a snapshot here that another installation recorded, from one of the registries that have it.
    ///
    /// What comes has to be what the record says, byte for byte; so it answers runs here as it does there.
    ///
    /// - Parameter connect: gives connections, with a cache where one is handed in.
    /// - Throws: what the last of the places failed with.
    package func fetch(
        _ record: SharedSnapshot, logger: Logger, progress: @escaping SnapshotDownload.Progress = { _, _, _ in },
        connect: (BlobCache?) throws -> ImageSources
    ) async throws -> Snapshot {
        var failure: any Error = SnapshotError(
            .snapshotNotFound,
            """
            snapshot \(record.id) is in no registry; the file is on \(record.hosts). Push it from there: \
            snapwf snapshots push \(record.id) REGISTRY/REPOSITORY
            """)
        let platform = try Platform(parsing: record.platform)
        for place in record.places {
            do {
                let reference = try ImageReference(parsing: place.reference)
                let artifact = try await findArtifact(reference, platform: platform) { try connect(nil) }
                let image = artifact.manifest.image
                guard image.key == record.key, image.sha256 == record.sha256, image.size == record.size else {
                    throw SnapshotError(
                        .snapshotDamaged,
                        "\(place.reference) is not what \(record.host) recorded of \(record.id): key, SHA-256 or size differ"
                    )
                }
                let snapshot = try await bring(
                    artifact, origin: .run(record.runID), logger: logger, progress: progress,
                    connect: { try connect($0) })
                try await note(
                    SnapshotArtifact(reference: place.reference, way: .pulled, notedAt: millisecondsNow()), of: snapshot
                )
                return snapshot
            } catch is CancellationError {
                throw CancellationError()
            } catch {
                logger.debug("\(place.reference) does not give \(record.id): \(error)")
                failure = error
            }
        }
        throw SnapshotError.translating(failure)
    }
}
