internal import Files
internal import Logging

/// The images of an OCI image layout, wherever its files lie.
struct LayoutImages: Sendable {
    let files: any LayoutFiles
    let limits: DocumentLimits
    /// How a reference to one of them is written, for messages.
    let form: String
    let logger: Logger

    private struct Version: Decodable {
        var imageLayoutVersion: String
    }

    private struct Index: Decodable {
        var manifests: [Descriptor]
    }

    /// - Parameter names: what the image may be called, the best name first; nil for the only one there is.
    func resolve(
        _ reference: ImageReference, names: [String]?, digest: Digest?, platform: Platform
    ) async throws(OCIError) -> ResolvedImage {
        let entries = try await index()
        let documents = LayoutDocuments(files: files, limits: limits)
        let resolution = ImageResolution(
            reference: reference, platform: platform, store: documents, logger: logger)
        if let digest {
            let announced = entries.first { $0.digest == digest }
            let document = try await documents.manifest(digest, type: announced?.mediaType, size: announced?.size)
            return try await resolution.resolve(document, announced: announced?.platform)
        }
        let named = try LayoutNames(entries: entries, place: files.shown, form: form).entries(called: names)
        return try await resolution.resolve(entries: named, indexDigest: nil)
    }

    func openLayer(_ layer: Descriptor) throws(OCIError) -> any BlobReader {
        try StoredBlobReader(
            files.openBlob(layer.digest), layer, name: "blob \(layer.digest) of \(files.shown)")
    }

    private func index() async throws(OCIError) -> [Descriptor] {
        let files = files
        let limit = limits.manifestBytes
        return try await onOwnThread { () throws(OCIError) -> [Descriptor] in
            let marker = try files.read(["oci-layout"], limit: 64 << 10, missing: .invalidLayout)
            let version = try Self.decode(Version.self, marker, "\(files.shown)/oci-layout").imageLayoutVersion
            guard version.split(separator: ".").first == "1" else {
                throw OCIError(
                    .invalidLayout,
                    "\(files.shown) is an OCI layout of version \(excerpt(version, limit: 20)); only 1 is known")
            }
            let bytes: [UInt8]
            do throws(OCIError) {
                bytes = try files.read(["index.json"], limit: limit, missing: .invalidLayout)
            } catch {
                throw error.exceeding(.manifestBytes)
            }
            return try Self.decode(Index.self, bytes, "\(files.shown)/index.json").manifests
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
    let files: any LayoutFiles
    let limits: DocumentLimits

    func manifest(_ descriptor: Descriptor) async throws(OCIError) -> ManifestDocument {
        try await manifest(descriptor.digest, type: descriptor.mediaType, size: descriptor.size)
    }

    /// - Parameter size: nil when only the digest is known.
    func manifest(_ digest: Digest, type: MediaType?, size: Int64?) async throws(OCIError) -> ManifestDocument {
        let bytes = try await verified(digest, size: size, limit: .manifestBytes)
        return ManifestDocument(bytes: bytes, digest: digest, declaredType: type)
    }

    func config(_ descriptor: Descriptor) async throws(OCIError) -> [UInt8] {
        try await verified(descriptor.digest, size: descriptor.size, limit: .configBytes)
    }

    private func verified(
        _ digest: Digest, size: Int64?, limit: DocumentLimits.Name
    ) async throws(OCIError) -> [UInt8] {
        let files = files
        let bytesAtMost = limits.bytes(limit)
        return try await onOwnThread { () throws(OCIError) -> [UInt8] in
            let bytes: [UInt8]
            do throws(OCIError) {
                bytes = try files.readBlob(digest, limit: bytesAtMost)
            } catch {
                throw error.exceeding(limit)
            }
            let descriptor = Descriptor(
                mediaType: .ociManifest, digest: digest, size: size ?? Int64(bytes.count))
            try BlobVerifier.verify(bytes, descriptor, name: "blob \(digest) of \(files.shown)")
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
    let place: String
    let form: String

    /// The entries for a name (several where one tag stands for several platforms), or the only image without one.
    func entries(called names: [String]?) throws(OCIError) -> [Descriptor] {
        guard let names, let first = names.first else {
            let found = Set(entries.map { Self.name(of: $0) ?? "" })
            guard found.count <= 1 || Set(entries.map(\.digest)).count == 1 else {
                throw OCIError(
                    .invalidReference, "\(place) holds several images: name one of \(listedNames), as \(form)")
            }
            guard !entries.isEmpty else { throw OCIError(.notFound, "the OCI layout \(place) holds no image") }
            return entries
        }
        for name in names {
            for key in [Self.refName, Self.imageName] {
                let found = entries.filter { $0.annotations?[key] == name }
                if !found.isEmpty { return found }
            }
        }
        throw OCIError(
            .notFound,
            "no tag \(printable(first, limit: 128)) in the OCI layout \(place); "
                + (listedNames.isEmpty ? "it holds no tagged image" : "there are: \(listedNames)"))
    }

    /// What tells an entry best from the others: many images have the tag `latest`.
    private static func name(of entry: Descriptor) -> String? {
        entry.annotations?[imageName] ?? entry.annotations?[refName]
    }

    private var listedNames: String {
        var names: [String] = []
        for entry in entries {
            guard let name = Self.name(of: entry), !names.contains(name) else { continue }
            names.append(name)
        }
        let shown = names.prefix(20).map { printable($0, limit: 100) }.joined(separator: ", ")
        return names.count > 20 ? shown + ", …" : shown
    }
}
