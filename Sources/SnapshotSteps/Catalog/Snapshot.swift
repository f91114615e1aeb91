package import HelperInterface

/// A snapshot that is whole, verified and visible.
package struct Snapshot: Sendable, Hashable {
    /// `snap-` and 16 hexadecimal digits of the key.
    package var id: String
    package var key: String
    /// The ext4 file.
    package var path: String
    package var image: String
    package var manifestDigest: String
    package var platform: String
    package var sha256: String
    package var uuid: String
    /// Bytes of the file, holes included.
    package var size: UInt64
    package var entries: Int
    /// The image config, as the registry has it.
    package var config: String
    /// The hash tree behind the file system, where there is one and it was noted.
    package var verity: VerityResult?
    /// The date that was asked for, in seconds since 1970.
    package var sourceDateEpoch: Int64?
    package var origin: SnapshotOrigin
    /// Milliseconds since 1970.
    package var createdAt: Int64
    package var lastUsedAt: Int64
    /// How long its last boot for proof took; nil when it was never booted for that.
    package var bootMilliseconds: Int?
    /// Sorted.
    package var names: [String] = []
    package var labels: [String: String] = [:]
    /// Where the same bytes stand in registries, the newest last.
    package var artifacts: [SnapshotArtifact] = []

    init(_ result: PullResult, origin: SnapshotOrigin, at now: Int64) {
        id = "snap-" + result.key.prefix(16)
        key = result.key
        path = ""
        image = result.image
        manifestDigest = result.manifestDigest
        platform = result.platform
        sha256 = result.sha256
        uuid = result.uuid
        size = result.size
        entries = result.entries
        config = result.config
        verity = result.verity
        sourceDateEpoch = result.sourceDateEpoch
        self.origin = origin
        createdAt = now
        lastUsedAt = now
    }

    /// The run that made it; nil for one that was pulled.
    package var runID: String? { origin.run }
}

/// Where a snapshot came from.
package enum SnapshotOrigin: Sendable, Hashable, Codable {
    /// A run made it of an image.
    case run(String)
    /// A run made it of a sandbox's work directory.
    case captured(sandbox: String, run: String)
    /// It was pulled from a registry: a reference by digest.
    case pulled(reference: String)
}

/// A place in a registry that holds the same bytes.
package struct SnapshotArtifact: Sendable, Hashable {
    package enum Way: String, Sendable { case pushed, pulled }

    /// By digest.
    package var reference: String
    package var way: Way
    /// Milliseconds since 1970.
    package var notedAt: Int64
}
