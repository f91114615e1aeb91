import HelperInterface

/// What is known of a snapshot once it is in the catalog: a step's output, so without the image's config.
struct RegisteredSnapshot: Codable, Sendable {
    var id: String
    var key: String
    /// nil for a snapshot that somebody else keeps.
    var path: String?
    /// By digest, where it was pushed.
    var pushedTo: String?
    var bootMilliseconds: Int?
    var sha256: String
    var size: UInt64
    var uuid: String
    var image: String
    var manifestDigest: String
    var platform: String
    var entries: Int
    var warnings: [String]

    /// What an API or a registry keeps under an id of its own.
    init(_ result: PullResult, keptAs id: String) {
        self.id = id
        key = result.key
        sha256 = result.sha256
        size = result.size
        uuid = result.uuid
        image = result.image
        manifestDigest = result.manifestDigest
        platform = result.platform
        entries = result.entries
        warnings = result.warnings
    }

    init(_ snapshot: Snapshot, warnings: [String]) {
        id = snapshot.id
        key = snapshot.key
        path = snapshot.path
        sha256 = snapshot.sha256
        size = snapshot.size
        uuid = snapshot.uuid
        image = snapshot.image
        manifestDigest = snapshot.manifestDigest
        platform = snapshot.platform
        entries = snapshot.entries
        self.warnings = warnings
    }
}
