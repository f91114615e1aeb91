import Files
import FoundationEssentials
import HelperInterface

/// `snapshot.json` beside an image of the store: what its row holds, so that a store without its database can be taken
/// in again; and a result document, as the helper that looks at the image wants one.
struct SnapshotDocument: Codable {
    static let name = "snapshot.json"
    /// A config may have 8 MiB (OCI); quoted in JSON it grows.
    private static let largest = 64 << 20

    var schema = 1
    /// The image's name in the same directory.
    var output = CatalogLayout.imageName
    var id: String
    var key: String
    var sha256: String
    var size: UInt64
    var uuid: String
    var image: String
    var manifestDigest: String
    var manifestType: String?
    var manifestSize: Int64?
    var platform: String
    var entries: Int
    var config: String
    var verity: VerityResult?
    var sourceDateEpoch: Int64?
    var layerBytes: UInt64
    var warnings: [String]
    /// As documents of the first version have it; `origin` says more.
    var runID: String?
    var origin: SnapshotOrigin?
    var createdAt: Int64

    init(_ snapshot: Snapshot, of result: PullResult) {
        id = snapshot.id
        key = snapshot.key
        sha256 = snapshot.sha256
        size = snapshot.size
        uuid = snapshot.uuid
        image = snapshot.image
        manifestDigest = snapshot.manifestDigest
        manifestType = result.manifestType
        manifestSize = result.manifestSize
        platform = snapshot.platform
        entries = snapshot.entries
        config = snapshot.config
        verity = snapshot.verity
        sourceDateEpoch = snapshot.sourceDateEpoch
        layerBytes = result.layerBytes
        warnings = result.warnings
        runID = snapshot.runID
        origin = snapshot.origin
        createdAt = snapshot.createdAt
    }

    init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        schema = try values.decodeIfPresent(Int.self, forKey: .schema) ?? 1
        output = CatalogLayout.imageName
        id = try values.decode(String.self, forKey: .id)
        key = try values.decode(String.self, forKey: .key)
        sha256 = try values.decode(String.self, forKey: .sha256)
        size = try values.decode(UInt64.self, forKey: .size)
        uuid = try values.decode(String.self, forKey: .uuid)
        image = try values.decode(String.self, forKey: .image)
        manifestDigest = try values.decode(String.self, forKey: .manifestDigest)
        manifestType = try values.decodeIfPresent(String.self, forKey: .manifestType)
        manifestSize = try values.decodeIfPresent(Int64.self, forKey: .manifestSize)
        platform = try values.decode(String.self, forKey: .platform)
        entries = try values.decode(Int.self, forKey: .entries)
        config = try values.decode(String.self, forKey: .config)
        verity = try values.decodeIfPresent(VerityResult.self, forKey: .verity)
        sourceDateEpoch = try values.decodeIfPresent(Int64.self, forKey: .sourceDateEpoch)
        layerBytes = try values.decodeIfPresent(UInt64.self, forKey: .layerBytes) ?? 0
        warnings = try values.decodeIfPresent([String].self, forKey: .warnings) ?? []
        runID = try values.decodeIfPresent(String.self, forKey: .runID)
        origin = try values.decodeIfPresent(SnapshotOrigin.self, forKey: .origin)
        createdAt = try values.decode(Int64.self, forKey: .createdAt)
    }

    /// `nil` where there is none, or none that can be read.
    static func read(in directory: String) throws(FileError) -> SnapshotDocument? {
        guard isRegularFile(directory + "/" + name),
            let bytes = try readFile(directory + "/" + name, limit: largest)
        else { return nil }
        return try? JSONDecoder().decode(SnapshotDocument.self, from: Data(bytes))
    }

    /// Durable, but for its name until the directory is synchronised.
    func write(in directory: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        try replaceFile(directory + "/" + Self.name, Array(try encoder.encode(self)), mode: 0o600)
    }

    /// The snapshot that its row would show.
    var snapshot: Snapshot { Snapshot(result, origin: origin ?? .run(runID ?? ""), at: createdAt) }

    /// What was said of the image when it was made.
    var result: PullResult {
        var result = PullResult(
            output: output, sha256: sha256, size: size, uuid: uuid, key: key, image: image,
            manifestDigest: manifestDigest, platform: platform, entries: entries, layerBytes: layerBytes,
            warnings: warnings, config: config)
        result.verity = verity
        result.sourceDateEpoch = sourceDateEpoch
        result.manifestType = manifestType
        result.manifestSize = manifestSize
        return result
    }
}
