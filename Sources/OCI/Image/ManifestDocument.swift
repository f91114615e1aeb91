internal import FoundationEssentials

/// An image manifest, an image index or a Docker manifest list as it was read: bytes, digest, and the type that the
/// registry or the descriptor gave it.
struct ManifestDocument: Sendable {
    let bytes: [UInt8]
    let digest: Digest
    let declaredType: MediaType?

    /// The descriptors in the document, after proof that it is what it says it is.
    enum Content: Sendable {
        case manifest(config: Descriptor, layers: [Descriptor])
        case index([Descriptor])
    }

    /// What points to the document. Its type is the one announced, else the one that it gives itself.
    var descriptor: Descriptor {
        Descriptor(mediaType: type ?? .ociManifest, digest: digest, size: Int64(bytes.count))
    }

    private struct OwnType: Decodable {
        var mediaType: MediaType?
    }

    private var type: MediaType? {
        if let declared = declaredType.flatMap(Self.meaningful) { return declared }
        // Whoever asks has read the document already; what cannot be read has no type.
        return try? decodeJSON(OwnType.self, bytes, what: "the manifest").mediaType
    }

    private struct Fields: Decodable {
        var schemaVersion: Int?
        var mediaType: MediaType?
        var artifactType: String?
        var config: Descriptor?
        var layers: [Descriptor]?
        var manifests: [Descriptor]?
    }

    /// What schema 1 and all others have in common, so that schema 1 is recognised whatever else it holds.
    private struct Version: Decodable {
        var schemaVersion: Int?
    }

    /// Decodes the document. A document that could be read as both an index and a manifest is refused
    /// (CVE-2021-41190), and so is one whose own `mediaType` differs from how it was announced.
    func content(named name: String) throws(OCIError) -> Content {
        let declared = declaredType.flatMap(Self.meaningful)
        if declared?.isSchema1 == true { throw Self.schema1(name) }
        if let version = try decodeJSON(Version.self, bytes, what: "the manifest of \(name)").schemaVersion,
            version != 2
        {
            throw version == 1
                ? Self.schema1(name)
                : OCIError(.unsupportedMediaType, "\(name): a manifest with schema version \(version) is not supported")
        }
        if let declared, !declared.isManifest, !declared.isIndex {
            throw OCIError(
                .unsupportedMediaType, "\(name) is no container image: its type is \(printable(declared.rawValue))")
        }
        let fields = try decodeJSON(Fields.self, bytes, what: "the manifest of \(name)")
        if let declared, let own = fields.mediaType, declared != own {
            throw OCIError(
                .invalidManifest,
                "\(name) was announced as \(printable(declared.rawValue)) but calls itself \(printable(own.rawValue))")
        }
        let looksLikeIndex = fields.manifests != nil
        let looksLikeManifest = fields.config != nil || fields.layers != nil
        guard looksLikeIndex != looksLikeManifest else {
            throw OCIError(
                .invalidManifest,
                looksLikeIndex
                    ? "\(name) could be read as an index and as a manifest: it is refused"
                    : "\(name) is neither an index nor a manifest: it has neither \"manifests\" nor \"config\" and \"layers\""
            )
        }
        let type = declared ?? fields.mediaType ?? (looksLikeIndex ? .ociIndex : .ociManifest)
        if type.isIndex, let manifests = fields.manifests {
            return .index(manifests)
        }
        if type.isManifest, let config = fields.config, let layers = fields.layers {
            return .manifest(config: config, layers: layers)
        }
        throw OCIError(.invalidManifest, "\(name) does not have the contents of its type, \(printable(type.rawValue))")
    }

    /// Registries that know nothing better answer with a general type; then the document speaks for itself.
    private static func meaningful(_ type: MediaType) -> MediaType? {
        let general = ["application/json", "application/octet-stream", "text/plain", "binary/octet-stream"]
        return general.contains(type.rawValue) ? nil : type
    }

    private static func schema1(_ name: String) -> OCIError {
        OCIError(
            .unsupportedMediaType,
            "\(name) has a manifest of schema 1, which is obsolete and not supported: "
                + "push the image again with a current docker or skopeo")
    }
}

/// The parts of an image config that matter here (OCI image specification, "Image Configuration").
struct ImageConfigDocument: Decodable, Sendable {
    struct RootFS: Decodable, Sendable {
        var type: String?
        var diffIDs: [Digest]

        enum CodingKeys: String, CodingKey {
            case type
            case diffIDs = "diff_ids"
        }
    }

    var created: String?
    var os: String?
    var architecture: String?
    var variant: String?
    var rootfs: RootFS?

    /// The platform that the config states; nil when it leaves it open.
    var platform: Platform? {
        guard let os, let architecture, !os.isEmpty, !architecture.isEmpty else { return nil }
        return Platform(os: os, architecture: architecture, variant: variant)
    }
}

/// Decodes JSON that came from outside; `what` names it in the error.
func decodeJSON<T: Decodable>(_ type: T.Type, _ bytes: [UInt8], what: String) throws(OCIError) -> T {
    do {
        return try JSONDecoder().decode(type, from: Data(bytes))
    } catch let error as DecodingError {
        throw OCIError(.invalidManifest, "\(what) cannot be read: \(explain(error))", cause: error)
    } catch {
        throw OCIError(.invalidManifest, "\(what) cannot be read: \(printable("\(error)"))", cause: error)
    }
}

private func explain(_ error: DecodingError) -> String {
    func place(_ path: [any CodingKey]) -> String {
        path.isEmpty
            ? ""
            : " at " + path.map { $0.intValue.map { "[\($0)]" } ?? printable($0.stringValue) }.joined(separator: ".")
    }
    switch error {
    case .keyNotFound(let key, let context):
        return "\"\(key.stringValue)\" is missing\(place(context.codingPath))"
    case .valueNotFound(_, let context), .typeMismatch(_, let context), .dataCorrupted(let context):
        return printable(context.debugDescription) + place(context.codingPath)
    @unknown default:
        return printable("\(error)")
    }
}
