import FoundationEssentials
package import HelperInterface
import Workflow

/// What installations that share a store know of a snapshot that one of them has made and verified.
package struct SharedSnapshot: Sendable, Hashable {
    /// An installation that has the file.
    package struct Copy: Sendable, Hashable {
        package let owner: String
        package let host: String
    }

    package let id: String
    package let key: String
    package let image: String
    package let manifestDigest: String
    package let platform: String
    package let sha256: String
    package let uuid: String
    package let size: UInt64
    package let entries: Int
    package let verity: VerityResult?
    package let sourceDateEpoch: Int64?
    /// The run that made it, in the store.
    package let runID: String
    /// The host of the installation that made it.
    package let host: String
    /// Milliseconds since 1970.
    package let createdAt: Int64
    /// Where the bytes stand in registries, by digest; the newest first.
    package var places: [SnapshotArtifact] = []
    /// Who has the file, the oldest first.
    package var copies: [Copy] = []

    /// All but the config, which may be large.
    static let columns = """
        key, id, image, manifest_digest, platform, sha256, uuid, size, entries, verity, source_date_epoch, run_id, made_on, \
        created_at
        """

    init(_ row: SharedDatabase.Row) throws {
        id = try row.needText("id")
        key = try row.needText("key")
        image = try row.needText("image")
        manifestDigest = try row.needText("manifest_digest")
        platform = try row.needText("platform")
        sha256 = try row.needText("sha256")
        uuid = try row.needText("uuid")
        size = UInt64(clamping: try row.integer("size") ?? 0)
        entries = Int(clamping: try row.integer("entries") ?? 0)
        verity = try row.text("verity").map { try JSONDecoder().decode(VerityResult.self, from: Data($0.utf8)) }
        sourceDateEpoch = try row.integer("source_date_epoch")
        runID = try row.needText("run_id")
        host = try row.needText("made_on")
        createdAt = try row.integer("created_at") ?? 0
    }

    /// The hosts that have the file, for people.
    package var hosts: String {
        copies.isEmpty ? "no machine any more" : Set(copies.map(\.host)).sorted().joined(separator: ", ")
    }

    /// As the catalog of an installation shows one; its file is not there.
    package func snapshot(config: String = "") -> Snapshot {
        var result = PullResult(
            output: "", sha256: sha256, size: size, uuid: uuid, key: key, image: image, manifestDigest: manifestDigest,
            platform: platform, entries: entries, layerBytes: 0, warnings: [], config: config)
        result.verity = verity
        result.sourceDateEpoch = sourceDateEpoch
        var snapshot = Snapshot(result, origin: .run(runID), at: createdAt)
        snapshot.artifacts = places.reversed()
        return snapshot
    }
}
