import FoundationEssentials
import HelperInterface
import OCI

extension ArtifactManifest {
    /// What a registry's document says, checked so far that everything that follows can rely on it.
    ///
    /// - Parameter name: For messages.
    init(
        _ document: Document, config: [UInt8], reference: String, name: String
    ) throws(ArtifactError) {
        let fields = Fields(values: document.annotations ?? [:], name: name)
        let size = try fields.number(ArtifactFormat.Annotation.size, 1...UInt64(ArtifactFormat.largestImage))
        let digest = try fields.digest(ArtifactFormat.Annotation.baseDigest)
        var image = PullResult(
            output: "", sha256: try fields.hex(ArtifactFormat.Annotation.sha256, digits: 64), size: size,
            uuid: try fields.uuid(ArtifactFormat.Annotation.uuid),
            key: try fields.hex(ArtifactFormat.Annotation.key, digits: 64),
            image: Self.base(fields.values[ArtifactFormat.Annotation.baseName], digest) ?? reference,
            manifestDigest: digest.description, platform: try fields.platform(ArtifactFormat.Annotation.platform),
            entries: Int(try fields.number(ArtifactFormat.Annotation.entries, 0...UInt64(UInt32.max))),
            layerBytes: try fields.number(ArtifactFormat.Annotation.layerBytes, 0...UInt64(Int64.max)), warnings: [],
            config: String(decoding: config, as: UTF8.self))
        image.manifestType = document.subject?.mediaType.rawValue
        image.manifestSize = document.subject?.size
        if fields.values[ArtifactFormat.Annotation.sourceDateEpoch] != nil {
            image.sourceDateEpoch = Int64(
                try fields.number(ArtifactFormat.Annotation.sourceDateEpoch, 0...UInt64(UInt32.max) * 4))
        }
        image.verity = try fields.verity(imageSize: size)
        self.init(image: image, chunks: try Self.chunks(document.layers, imageSize: Int(size), name: name))
    }

    /// The image that the snapshot was made of; nil where none that can be asked for again is named.
    private static func base(_ name: String?, _ digest: Digest) -> String? {
        guard let name, let reference = try? ImageReference(parsing: name), reference.registryHost != nil else {
            return nil
        }
        return reference.pinned(to: digest).description
    }

    /// The document if it is a snapshot's manifest. Which it is not, it says.
    static func document(_ bytes: [UInt8], name: String) throws(ArtifactError) -> Document {
        let document: Document
        do {
            document = try JSONDecoder().decode(Document.self, from: Data(bytes))
        } catch {
            throw ArtifactError(.invalidArtifact, "the manifest of \(name) cannot be read: \(shown("\(error)"))")
        }
        guard document.artifactType == ArtifactFormat.artifactType else {
            throw .noSnapshot(name, artifactType: document.artifactType, config: document.config.mediaType)
        }
        return document
    }

    /// In order and apart, each within the image, no larger than a chunk may be and than it can be compressed.
    private static func chunks(
        _ layers: [Descriptor], imageSize: Int, name: String
    ) throws(ArtifactError) -> [Chunk] {
        var chunks: [Chunk] = []
        chunks.reserveCapacity(layers.count)
        var end = 0
        for (index, layer) in layers.enumerated() {
            let place = "chunk \(index + 1) of \(layers.count) of \(name)"
            guard layer.mediaType == ArtifactFormat.chunkType else {
                throw ArtifactError(.invalidArtifact, "\(place) is of the type \(shown(layer.mediaType.rawValue))")
            }
            let fields = Fields(values: layer.annotations ?? [:], name: place)
            let offset = Int(try fields.number(ArtifactFormat.Annotation.chunkOffset, 0...UInt64(imageSize)))
            let size = Int(
                try fields.number(ArtifactFormat.Annotation.chunkSize, 1...UInt64(ArtifactFormat.chunkSize)))
            guard offset >= end, size <= imageSize - offset else {
                throw ArtifactError(
                    .invalidArtifact,
                    "\(place) stands at \(offset) with \(size) bytes, where the one before ends at \(end) and the image "
                        + "at \(imageSize)")
            }
            guard layer.size > 0, layer.size <= Int64(largestBlob(of: size)) else {
                throw ArtifactError(
                    .invalidArtifact, "\(place) has \(layer.size) bytes for \(size) of the image: it is not read")
            }
            let content = try fields.digest(ArtifactFormat.Annotation.chunkDigest)
            chunks.append(
                Chunk(offset: offset, size: size, content: content, blob: layer.digest, blobSize: layer.size))
            end = offset + size
        }
        return chunks
    }
}

extension ArtifactError {
    static func noSnapshot(_ name: String, artifactType: String?, config: MediaType) -> ArtifactError {
        if artifactType == nil, config.isImageConfig {
            return ArtifactError(
                .notASnapshot, "\(name) is a container image, no snapshot: make one of it with: snapwf run \(name)")
        }
        return ArtifactError(
            .notASnapshot,
            "\(name) is no snapshot: it is an artifact of the type \(shown(artifactType ?? config.rawValue))")
    }
}

/// Annotations of a document that is trusted in nothing.
private struct Fields {
    let values: [String: String]
    let name: String

    func number(_ key: String, _ range: ClosedRange<UInt64>) throws(ArtifactError) -> UInt64 {
        let text = try text(key)
        guard text.utf8.count <= 20, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let value = UInt64(text),
            range.contains(value)
        else { throw wrong(key, text, "a number from \(range.lowerBound) to \(range.upperBound)") }
        return value
    }

    func hex(_ key: String, digits: Int) throws(ArtifactError) -> String {
        let text = try text(key)
        guard text.utf8.count == digits, Self.isHex(text) else { throw wrong(key, text, "\(digits) hex digits") }
        return text
    }

    func uuid(_ key: String) throws(ArtifactError) -> String {
        let text = try text(key)
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.map(\.utf8.count) == [8, 4, 4, 4, 12], parts.allSatisfy({ Self.isHex($0) }) else {
            throw wrong(key, text, "a UUID")
        }
        return text
    }

    func platform(_ key: String) throws(ArtifactError) -> String {
        let text = try text(key)
        do {
            return try Platform(parsing: text).description
        } catch {
            throw wrong(key, text, "a platform")
        }
    }

    func digest(_ key: String) throws(ArtifactError) -> Digest {
        let text = try text(key)
        do {
            return try Digest(parsing: text)
        } catch {
            throw wrong(key, text, "a digest")
        }
    }

    /// nil where the image has no hash tree.
    func verity(imageSize: UInt64) throws(ArtifactError) -> VerityResult? {
        typealias Name = ArtifactFormat.Annotation
        guard values[Name.verityRootHash] != nil else { return nil }
        let salt = try text(Name.veritySalt)
        // dm-verity's superblock has room for 256 bytes.
        guard salt.utf8.count <= 512, salt.utf8.count.isMultiple(of: 2), Self.isHex(salt) else {
            throw wrong(Name.veritySalt, salt, "hex digits")
        }
        let blocks = imageSize / UInt64(VeritySuperblock.blockSize)
        return VerityResult(
            rootHash: try hex(Name.verityRootHash, digits: 64), salt: salt, uuid: try uuid(Name.verityUUID),
            dataBlocks: try number(Name.verityDataBlocks, 0...blocks),
            hashOffset: try number(Name.verityHashOffset, 0...imageSize))
    }

    private func text(_ key: String) throws(ArtifactError) -> String {
        guard let text = values[key] else {
            throw ArtifactError(.invalidArtifact, "\(name) has no annotation \(key), which the format wants")
        }
        return text
    }

    private func wrong(_ key: String, _ text: String, _ wanted: String) -> ArtifactError {
        ArtifactError(.invalidArtifact, "\(name): the annotation \(key) is \"\(shown(text))\", not \(wanted)")
    }

    private static func isHex(_ text: some StringProtocol) -> Bool {
        text.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
    }
}
