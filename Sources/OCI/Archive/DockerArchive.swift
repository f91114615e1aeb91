internal import Files
internal import Logging

/// The images of an archive that `docker save`, podman or skopeo wrote (Docker image specification 1.2, "Combined Image
/// JSON + Filesystem Changeset Format").
///
/// Such an archive has no manifest and no digests of its layers as they are stored. What an image is, its config decides,
/// which names the digest of every unpacked layer. So the manifest's digest is that of a text made of the config's digest
/// and those: the same image has the same one whether its layers are compressed or not, and whatever they are called.
/// It is no digest of the image in a registry.
struct DockerArchive: Sendable {
    static let listName = "manifest.json"
    /// The annotation with which a layer's descriptor names its entry.
    private static let entryName = "vnd.snapwf.archive.entry"

    let files: ArchiveFile
    let limits: DocumentLimits
    let form: String
    let logger: Logger

    private struct Item: Decodable {
        var config: String
        var repoTags: [String]?
        var layers: [String]?

        enum CodingKeys: String, CodingKey {
            case config = "Config"
            case repoTags = "RepoTags"
            case layers = "Layers"
        }
    }

    /// One image, as far as it decides which image it is.
    private struct Image: Sendable {
        let item: Item
        let config: [UInt8]
        let configDigest: Digest
        let diffIDs: [Digest]

        var manifest: [UInt8] {
            DockerArchive.canonicalManifest(config: configDigest, diffIDs: diffIDs)
        }
    }

    /// The text whose digest stands for an image of such an archive: same config and same layers, same digest.
    static func canonicalManifest(config: Digest, diffIDs: [Digest]) -> [UInt8] {
        let lines = ["snapwf docker archive 1", "config \(config)"] + diffIDs.map { "layer \($0)" }
        return Array((lines.joined(separator: "\n") + "\n").utf8)
    }

    /// `alpine` → `docker.io/library/alpine:latest`; what is no name stays as it is.
    static func fullName(_ name: String) -> String {
        do throws(OCIError) {
            return try ImageReference(parsing: "docker://\(name)").description
        } catch {
            return name
        }
    }

    func resolve(
        _ reference: ImageReference, name: String?, digest: Digest?, platform: Platform
    ) async throws(OCIError) -> ResolvedImage {
        let (image, layers) = try await onOwnThread { () throws(OCIError) -> (Image, [Descriptor]) in
            let image = try self.find(name: name, digest: digest)
            return (image, try self.layers(of: image))
        }
        let config = Descriptor(
            mediaType: .dockerConfig, digest: image.configDigest, size: Int64(image.config.count))
        let manifest = image.manifest
        return try await ImageResolution(
            reference: reference, platform: platform, store: ReadConfig(bytes: image.config), logger: logger
        ).resolve(manifestDigest: .sha256(of: manifest), config: config, layers: layers)
    }

    /// The bytes of a layer. Their size alone is known here; the diffID proves what they unpack to.
    func openLayer(_ layer: Descriptor) throws(OCIError) -> any BlobReader {
        guard let entry = layer.annotations?[Self.entryName] else {
            throw OCIError(.notFound, "layer \(layer.digest) is not of the archive \(files.shown)")
        }
        return StoredBlobReader(
            undigested: try files.open(named: entry), name: "\(files.shown)/\(printable(entry))")
    }

    // MARK: Finding the image

    private func find(name: String?, digest: Digest?) throws(OCIError) -> Image {
        let items = try list()
        if let digest {
            for item in items {
                let image = try image(item)
                if Digest.of(image.manifest, algorithm: digest.algorithm) == digest { return image }
            }
            throw OCIError(.notFound, "no image of \(files.shown) has the digest \(digest): was the archive replaced?")
        }
        if let name {
            let wanted = Self.fullName(name)
            let found = items.first { $0.repoTags?.contains { Self.fullName($0) == wanted } ?? false }
            guard let found else {
                throw OCIError(
                    .notFound,
                    "no image \(printable(name, limit: 300)) in \(files.shown); there are: \(names(of: items))")
            }
            return try image(found)
        }
        guard let first = items.first else { throw OCIError(.notFound, "\(files.shown) holds no image") }
        guard items.allSatisfy({ $0.config == first.config }) else {
            throw OCIError(
                .invalidReference,
                "\(files.shown) holds several images: name one of \(names(of: items)), as \(form)")
        }
        return try image(first)
    }

    private func list() throws(OCIError) -> [Item] {
        do throws(OCIError) {
            let bytes = try files.read([Self.listName], limit: limits.manifestBytes, missing: .invalidArchive)
            return try decodeJSON([Item].self, bytes, what: "\(files.shown)/\(Self.listName)")
        } catch {
            throw error.exceeding(.manifestBytes)
        }
    }

    private func image(_ item: Item) throws(OCIError) -> Image {
        let name = "\(files.shown)/\(printable(item.config))"
        let bytes: [UInt8]
        do throws(OCIError) {
            bytes = try files.open(named: item.config).readAll(limit: limits.configBytes, name: name)
        } catch {
            throw error.exceeding(.configBytes)
        }
        let digest = Digest.sha256(of: bytes)
        // Whoever writes such archives names the config by its digest, with or without an ending.
        let file = item.config.split(separator: "/").last ?? ""
        if let stated = Self.digest(inName: file), stated != digest {
            throw OCIError(.digestMismatch, "\(name) is damaged: its bytes have the digest \(digest)")
        }
        let document = try decodeJSON(ImageConfigDocument.self, bytes, what: name)
        return Image(item: item, config: bytes, configDigest: digest, diffIDs: document.rootfs?.diffIDs ?? [])
    }

    private static func digest(inName file: Substring) -> Digest? {
        let hex = file.hasSuffix(".json") ? file.dropLast(5) : file
        guard hex.utf8.count == Digest.Algorithm.sha256.hexLength else { return nil }
        do throws(OCIError) {
            return try Digest(parsing: "sha256:\(hex)")
        } catch {
            return nil
        }
    }

    private func names(of items: [Item]) -> String {
        let names = items.flatMap { $0.repoTags ?? [] }
        guard !names.isEmpty else { return "\(items.count) without a name" }
        let shown = names.prefix(20).map { printable($0, limit: 100) }.joined(separator: ", ")
        return names.count > 20 ? shown + ", …" : shown
    }

    // MARK: Layers

    /// Descriptors that name a layer by its diffID and say how it is stored by its first bytes.
    private func layers(of image: Image) throws(OCIError) -> [Descriptor] {
        let entries = image.item.layers ?? []
        guard entries.count == image.diffIDs.count else {
            throw OCIError(
                .invalidManifest,
                "\(files.shown): the image has \(entries.count) layers, but its config names \(image.diffIDs.count)")
        }
        var layers: [Descriptor] = []
        for (entry, diffID) in zip(entries, image.diffIDs) {
            let file = try files.open(named: entry)
            let head = try file.bytes(0..<Int(min(4, file.size)), name: "\(files.shown)/\(printable(entry))")
            let type: MediaType =
                switch LayerCompression(firstBytes: head) {
                case .none: .dockerLayer
                case .gzip: .dockerLayerGzip
                case .zstd: .dockerLayerZstd
                }
            layers.append(
                Descriptor(
                    mediaType: type, digest: diffID, size: file.size, annotations: [Self.entryName: entry]))
        }
        return layers
    }
}

/// The one config that was read already.
private struct ReadConfig: DocumentStore {
    let bytes: [UInt8]

    func manifest(_ descriptor: Descriptor) async throws(OCIError) -> ManifestDocument {
        throw OCIError(.notFound, "an archive of docker save has no manifests")
    }

    func config(_ descriptor: Descriptor) async throws(OCIError) -> [UInt8] { bytes }
}
