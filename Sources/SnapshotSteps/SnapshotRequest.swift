package import OCI

/// What a run is asked to do: the workflow's input. It is stored, so it holds references to secrets, never secrets.
package struct SnapshotRequest: Codable, Sendable, Hashable {
    /// The image as the person wrote it, completed: `docker.io/library/alpine:latest`, `oci:/images/app:1.2`,
    /// `docker-archive:/images/app.tar`. An archive on standard input is no request: nobody could read it again.
    package var image: String
    package var platform: String
    /// The size of the file system in bytes; nil for as small as the content allows.
    package var size: UInt64?
    /// Whether a dm-verity hash tree is appended.
    package var verity = false
    /// The file system's date in seconds since 1970 where the environment asked for one (SOURCE_DATE_EPOCH).
    package var sourceDateEpoch: Int64?
    /// Where a copy of the ext4 file is put in the end; absolute.
    package var exportPath: String?
    package var vcpus: Int?
    package var memoryBytes: UInt64?
    package var diskBytes: UInt64?
    /// How long the sandbox lives on when nobody looks after it, in seconds.
    package var timeToLive: Int
    package var plainHTTPHosts: [String]
    package var caFile: String?
    /// A file in the form of docker's `config.json`; nil for docker's own.
    package var credentialsFile: String?

    /// Where the sandbox is made; nil for this machine.
    package var place: SandboxPlace?
    /// The image that the sandbox boots from, where its provider takes one; nil for the provider's own.
    package var builderImage: String?
    /// Where the sandbox fetches the helper from; nil for the one that came with this program.
    package var helperURL: String?
    /// Where the snapshot goes; nil for the catalog.
    package var register: RegisterTarget?

    /// Where the sandbox pushes the finished image, as a registry's reference; nil for nowhere.
    package var push: String?
    /// Where the snapshot is pushed to for other machines, under a tag of its own: a registry's repository without a tag.
    /// Nil where the store is not shared, or nobody said where.
    package var sharesTo: String?
    /// Whether the image is booted once before it is registered.
    package var verifyBoot: Bool?

    /// Convert even when the catalog has the snapshot.
    package var ignoresCatalog = false

    /// What the snapshot is called in the catalog; the snapshot that had the name loses it.
    package var name: String?
    /// Set on the snapshot in the catalog.
    package var labels: [String: String]?
    /// The sandbox whose work directory the image is, for a capture.
    package var capturedFrom: String?

    package static let defaultTimeToLive = 20 * 60

    package init(
        image: ImageReference, platform: Platform, size: UInt64? = nil, exportPath: String? = nil,
        timeToLive: Int = defaultTimeToLive
    ) {
        self.image = image.description
        self.platform = platform.description
        self.size = size
        self.exportPath = exportPath
        self.timeToLive = timeToLive
        self.plainHTTPHosts = []
    }
}

extension SnapshotRequest {
    /// Requests that earlier versions stored lack what they did not know.
    package init(from decoder: any Decoder) throws {
        let values = try decoder.container(keyedBy: CodingKeys.self)
        image = try values.decode(String.self, forKey: .image)
        platform = try values.decode(String.self, forKey: .platform)
        size = try values.decodeIfPresent(UInt64.self, forKey: .size)
        verity = try values.decodeIfPresent(Bool.self, forKey: .verity) ?? false
        sourceDateEpoch = try values.decodeIfPresent(Int64.self, forKey: .sourceDateEpoch)
        exportPath = try values.decodeIfPresent(String.self, forKey: .exportPath)
        vcpus = try values.decodeIfPresent(Int.self, forKey: .vcpus)
        memoryBytes = try values.decodeIfPresent(UInt64.self, forKey: .memoryBytes)
        diskBytes = try values.decodeIfPresent(UInt64.self, forKey: .diskBytes)
        timeToLive = try values.decode(Int.self, forKey: .timeToLive)
        plainHTTPHosts = try values.decodeIfPresent([String].self, forKey: .plainHTTPHosts) ?? []
        caFile = try values.decodeIfPresent(String.self, forKey: .caFile)
        credentialsFile = try values.decodeIfPresent(String.self, forKey: .credentialsFile)
        place = try values.decodeIfPresent(SandboxPlace.self, forKey: .place)
        builderImage = try values.decodeIfPresent(String.self, forKey: .builderImage)
        helperURL = try values.decodeIfPresent(String.self, forKey: .helperURL)
        register = try values.decodeIfPresent(RegisterTarget.self, forKey: .register)
        push = try values.decodeIfPresent(String.self, forKey: .push)
        sharesTo = try values.decodeIfPresent(String.self, forKey: .sharesTo)
        verifyBoot = try values.decodeIfPresent(Bool.self, forKey: .verifyBoot)
        ignoresCatalog = try values.decodeIfPresent(Bool.self, forKey: .ignoresCatalog) ?? false
        name = try values.decodeIfPresent(String.self, forKey: .name)
        labels = try values.decodeIfPresent([String: String].self, forKey: .labels)
        capturedFrom = try values.decodeIfPresent(String.self, forKey: .capturedFrom)
    }
}

/// Who keeps a finished snapshot.
package enum RegisterTarget: String, Codable, Hashable, Sendable, CaseIterable {
    /// The catalog of this machine: the image is moved, or copied, out of the sandbox.
    case catalog
    /// The Sandbox API, which captures the sandbox.
    case api
    /// The registry that it is pushed to.
    case registry
}

/// What a run ends with: the workflow's output.
package struct SnapshotResult: Codable, Sendable, Hashable {
    package var snapshotID: String
    package var key: String
    /// The ext4 file in the store, beside it `snapshot.json`; nil for a snapshot that the Sandbox API keeps.
    package var path: String?
    package var exportedTo: String?
    package var sha256: String
    /// Bytes of the file, holes included.
    package var size: UInt64
    package var uuid: String
    package var image: String
    package var manifestDigest: String
    package var platform: String
    package var entries: Int
    /// By digest, where the snapshot was pushed.
    package var pushedTo: String?
    /// How long its boot for proof took.
    package var bootMilliseconds: Int?
    /// The snapshot was there already; nothing was converted.
    package var cached: Bool
    package var warnings: [String]
}
