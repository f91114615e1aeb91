/// What the helper says while it works: one JSON object a line on its standard output with `--progress json`.
package enum HelperEvent: Sendable, Equatable {
    case progress(PullProgress)
    case warning(String)
    case failure(HelperFailure)
    case result(PullResult)
    case pushed(PushResult)
}

/// How far a pull has come. Bytes are those of the compressed layers.
package struct PullProgress: Codable, Sendable, Equatable {
    package var phase: Phase
    package var bytes: UInt64
    package var total: UInt64

    package enum Phase: String, Codable, Sendable { case resolve, layers, write, checksum, upload, download, done }

    /// From 0 to 100, whatever the numbers are: they come from another process.
    package var percent: Int {
        total == 0 ? 100 : Int(min(Double(bytes) / Double(total), 1) * 100)
    }

    package init(phase: Phase, bytes: UInt64, total: UInt64) {
        self.phase = phase
        self.bytes = bytes
        self.total = total
    }
}

/// Why the helper gave up, in words for a person and a code for a program.
package struct HelperFailure: Codable, Sendable, Equatable {
    /// A stable word such as `disk-full` or `digest-mismatch`.
    package var code: String
    package var message: String
    /// Whether the same call may succeed later.
    package var isRetryable: Bool

    package init(code: String, message: String, isRetryable: Bool) {
        self.code = code
        self.message = message
        self.isRetryable = isRetryable
    }
}

/// What `snapshot pull` made. Also written beside the image as `<output>.json`, before the image gets its name.
package struct PullResult: Codable, Sendable, Equatable {
    package var schema = 1
    package var output: String
    /// SHA-256 of the whole file, holes read as zeros; 64 hexadecimal digits.
    package var sha256: String
    /// Bytes of the file as `stat` shows them; less stands on disk.
    package var size: UInt64
    package var uuid: String
    package var key: String
    package var image: String
    package var manifestDigest: String
    /// Media type and size in bytes of that manifest; nil where the image had none (`docker save`).
    package var manifestType: String?
    package var manifestSize: Int64?
    package var platform: String
    /// Inodes in use and names in the tree that a person would count.
    package var entries: Int
    /// Bytes of the compressed layers.
    package var layerBytes: UInt64
    package var warnings: [String]
    /// The image's own configuration document, as the registry has it.
    package var config: String
    /// The hash tree behind the file system, where one was asked for.
    package var verity: VerityResult?
    /// The date that was asked for (SOURCE_DATE_EPOCH), in seconds since 1970; nil where the image's own was taken.
    package var sourceDateEpoch: Int64?

    package init(
        output: String, sha256: String, size: UInt64, uuid: String, key: String, image: String, manifestDigest: String,
        platform: String, entries: Int, layerBytes: UInt64, warnings: [String], config: String
    ) {
        self.output = output
        self.sha256 = sha256
        self.size = size
        self.uuid = uuid
        self.key = key
        self.image = image
        self.manifestDigest = manifestDigest
        self.platform = platform
        self.entries = entries
        self.layerBytes = layerBytes
        self.warnings = warnings
        self.config = config
    }
}

/// A dm-verity hash tree, as `veritysetup open` wants to be told of it. Byte strings are in hexadecimal.
package struct VerityResult: Codable, Sendable, Hashable {
    package var rootHash: String
    package var salt: String
    package var uuid: String
    package var algorithm = "sha256"
    /// In bytes, of data and of hashes.
    package var blockSize = VeritySuperblock.blockSize
    package var dataBlocks: UInt64
    /// Where the superblock of the tree stands in the file, in bytes: right behind the data.
    package var hashOffset: UInt64

    package init(rootHash: String, salt: String, uuid: String, dataBlocks: UInt64, hashOffset: UInt64) {
        self.rootHash = rootHash
        self.salt = salt
        self.uuid = uuid
        self.dataBlocks = dataBlocks
        self.hashOffset = hashOffset
    }

    package init(_ superblock: VeritySuperblock, rootHash: String) {
        self.rootHash = rootHash
        salt = hexadecimal(superblock.salt)
        uuid = uuidText(superblock.uuid)
        dataBlocks = superblock.dataBlocks
        hashOffset = superblock.offset
    }
}

extension HelperEvent: Codable {
    private enum CodingKeys: String, CodingKey { case type, progress, message, failure, result, pushed }
    private enum Kind: String, Codable { case progress, warning, failure, result, pushed }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        switch try container.decode(Kind.self, forKey: .type) {
        case .progress: self = .progress(try container.decode(PullProgress.self, forKey: .progress))
        case .warning: self = .warning(try container.decode(String.self, forKey: .message))
        case .failure: self = .failure(try container.decode(HelperFailure.self, forKey: .failure))
        case .result: self = .result(try container.decode(PullResult.self, forKey: .result))
        case .pushed: self = .pushed(try container.decode(PushResult.self, forKey: .pushed))
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        switch self {
        case .progress(let progress):
            try container.encode(Kind.progress, forKey: .type)
            try container.encode(progress, forKey: .progress)
        case .warning(let message):
            try container.encode(Kind.warning, forKey: .type)
            try container.encode(message, forKey: .message)
        case .failure(let failure):
            try container.encode(Kind.failure, forKey: .type)
            try container.encode(failure, forKey: .failure)
        case .result(let result):
            try container.encode(Kind.result, forKey: .type)
            try container.encode(result, forKey: .result)
        case .pushed(let result):
            try container.encode(Kind.pushed, forKey: .type)
            try container.encode(result, forKey: .pushed)
        }
    }
}
