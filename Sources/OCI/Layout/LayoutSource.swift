internal import Files
internal import Logging

/// Images in an OCI image layout directory.
struct LayoutSource: ImageSource {
    private let directory: LayoutDirectory
    private let logger: Logger

    init(directory: String, logger: Logger) {
        self.directory = LayoutDirectory(path: directory)
        self.logger = logger
    }

    private struct Version: Decodable {
        var imageLayoutVersion: String
    }

    private struct Index: Decodable {
        var manifests: [Descriptor]
    }

    func resolve(_ reference: ImageReference, platform: Platform) async throws(OCIError) -> ResolvedImage {
        guard case .layout(let path, let tag, let digest) = reference.transport, path == directory.path else {
            throw OCIError(.invalidReference, "\(reference) is not in the OCI layout \(directory.shown)")
        }
        let entries = try await index()
        let resolution = ImageResolution(
            reference: reference, platform: platform, store: LayoutDocuments(directory: directory), logger: logger)
        if let digest {
            let announced = entries.first { $0.digest == digest }
            let document = try await LayoutDocuments(directory: directory)
                .manifest(digest, type: announced?.mediaType, size: announced?.size)
            return try await resolution.resolve(document, announced: announced?.platform)
        }
        let named = try LayoutNames(entries: entries, directory: directory.shown).entries(tagged: tag)
        return try await resolution.resolve(entries: named, indexDigest: nil)
    }

    func openLayer(_ layer: Descriptor) throws(OCIError) -> any BlobReader {
        try LayoutBlobReader(layer, in: directory)
    }

    private func index() async throws(OCIError) -> [Descriptor] {
        let directory = directory
        return try await onOwnThread { () throws(OCIError) -> [Descriptor] in
            let marker = try directory.read(["oci-layout"], limit: 64 << 10, missing: .invalidLayout)
            let version = try Self.decode(Version.self, marker, "\(directory.shown)/oci-layout").imageLayoutVersion
            guard version.split(separator: ".").first == "1" else {
                throw OCIError(
                    .invalidLayout,
                    "\(directory.shown) is an OCI layout of version \(excerpt(version, limit: 20)); only 1 is known")
            }
            let bytes = try directory.read(
                ["index.json"], limit: ManifestDocument.sizeLimit, missing: .invalidLayout)
            return try Self.decode(Index.self, bytes, "\(directory.shown)/index.json").manifests
        }
    }

    private static func decode<T: Decodable>(_ type: T.Type, _ bytes: [UInt8], _ what: String) throws(OCIError) -> T {
        do {
            return try decodeJSON(type, bytes, what: what)
        } catch {
            throw OCIError(.invalidLayout, error.message, cause: error.cause)
        }
    }
}

/// Manifests and configs of a layout, read on a thread of their own.
private struct LayoutDocuments: DocumentStore {
    let directory: LayoutDirectory

    func manifest(_ descriptor: Descriptor) async throws(OCIError) -> ManifestDocument {
        try await manifest(descriptor.digest, type: descriptor.mediaType, size: descriptor.size)
    }

    /// - Parameter size: nil when only the digest is known.
    func manifest(_ digest: Digest, type: MediaType?, size: Int64?) async throws(OCIError) -> ManifestDocument {
        let bytes = try await verified(digest, size: size, limit: ManifestDocument.sizeLimit)
        return ManifestDocument(bytes: bytes, digest: digest, declaredType: type)
    }

    func config(_ descriptor: Descriptor) async throws(OCIError) -> [UInt8] {
        try await verified(descriptor.digest, size: descriptor.size, limit: ImageConfigDocument.sizeLimit)
    }

    private func verified(_ digest: Digest, size: Int64?, limit: Int) async throws(OCIError) -> [UInt8] {
        let directory = directory
        return try await onOwnThread { () throws(OCIError) -> [UInt8] in
            let bytes = try directory.readBlob(digest, limit: limit)
            let descriptor = Descriptor(
                mediaType: .ociManifest, digest: digest, size: size ?? Int64(bytes.count))
            try BlobVerifier.verify(bytes, descriptor, name: "blob \(digest) of \(directory.shown)")
            return bytes
        }
    }
}

/// Finds an image of a layout by its name: a pure decision.
struct LayoutNames {
    /// The tag (OCI image specification, "Pre-Defined Annotation Keys").
    private static let refName = "org.opencontainers.image.ref.name"
    /// The full name that containerd and BuildKit write beside it.
    private static let imageName = "io.containerd.image.name"

    let entries: [Descriptor]
    let directory: String

    /// The entries for a tag (several where one tag stands for several platforms), or the only image without one.
    func entries(tagged tag: String?) throws(OCIError) -> [Descriptor] {
        guard let tag else {
            let names = Set(entries.map { $0.annotations?[Self.refName] ?? "" })
            guard names.count <= 1 || Set(entries.map(\.digest)).count == 1 else {
                throw OCIError(
                    .invalidReference, "\(directory) holds several images: name one of \(listedNames), as oci:DIR:tag")
            }
            guard !entries.isEmpty else { throw OCIError(.notFound, "the OCI layout \(directory) holds no image") }
            return entries
        }
        for key in [Self.refName, Self.imageName] {
            let found = entries.filter { $0.annotations?[key] == tag }
            if !found.isEmpty { return found }
        }
        throw OCIError(
            .notFound,
            "no tag \(printable(tag, limit: 128)) in the OCI layout \(directory); "
                + (listedNames.isEmpty ? "it holds no tagged image" : "there are: \(listedNames)"))
    }

    private var listedNames: String {
        var names: [String] = []
        for entry in entries {
            guard let name = entry.annotations?[Self.refName], !names.contains(name) else { continue }
            names.append(name)
        }
        let shown = names.prefix(20).map { printable($0, limit: 100) }.joined(separator: ", ")
        return names.count > 20 ? shown + ", …" : shown
    }
}
