internal import Logging

/// Reads the documents of one repository or layout, verified against their descriptors.
protocol DocumentStore: Sendable {
    func manifest(_ descriptor: Descriptor) async throws(OCIError) -> ManifestDocument
    /// At most as many bytes as ``DocumentLimits`` allow.
    func config(_ descriptor: Descriptor) async throws(OCIError) -> [UInt8]
}

/// The way from the first document of an image to a `ResolvedImage`.
struct ImageResolution<Store: DocumentStore>: Sendable {
    /// An index may point to an index (layouts do so as a matter of course), but not without end.
    private static var deepestIndex: Int { 3 }

    let reference: ImageReference
    let platform: Platform
    let store: Store
    let logger: Logger

    private var name: String { printable(reference.description, limit: 400) }

    func resolve(_ document: ManifestDocument, announced: Platform? = nil) async throws(OCIError) -> ResolvedImage {
        switch try document.content(named: name) {
        case .manifest(let config, let layers):
            return try await resolve(
                manifestDigest: document.digest, manifest: document.descriptor, announced: announced, config: config,
                layers: layers)
        case .index(let entries):
            return try await resolve(entries: entries, indexDigest: document.digest, depth: 1)
        }
    }

    /// - Parameter indexDigest: nil for the `index.json` of a layout, which is no content-addressed document.
    func resolve(entries: [Descriptor], indexDigest: Digest?, depth: Int = 0) async throws(OCIError) -> ResolvedImage {
        let choice = try PlatformChoice(entries: entries, platform: platform).choose(from: name)
        let document = try await store.manifest(choice)
        switch try document.content(named: name) {
        case .manifest(let config, let layers):
            return try await resolve(
                manifestDigest: document.digest, manifest: document.descriptor, indexDigest: indexDigest,
                announced: choice.platform, config: config, layers: layers)
        case .index(let nested):
            guard depth < Self.deepestIndex else {
                throw OCIError(.invalidManifest, "\(name): indexes are nested more than \(Self.deepestIndex) deep")
            }
            return try await resolve(entries: nested, indexDigest: indexDigest ?? document.digest, depth: depth + 1)
        }
    }

    /// What a manifest with these parts is.
    ///
    /// - Parameter announced: the platform that an index gave.
    func resolve(
        manifestDigest: Digest, manifest: Descriptor? = nil, indexDigest: Digest? = nil, announced: Platform? = nil,
        config: Descriptor, layers: [Descriptor]
    ) async throws(OCIError) -> ResolvedImage {
        guard config.mediaType.isImageConfig else {
            throw OCIError(
                .unsupportedMediaType,
                "\(name) is an artifact (config of type \(printable(config.mediaType.rawValue))), no container image")
        }
        let compressions = try layers.enumerated().map { (index, layer) throws(OCIError) in
            try compression(of: layer, number: index + 1, of: layers.count)
        }
        let bytes = try await store.config(config)
        let document = try decodeJSON(ImageConfigDocument.self, bytes, what: "the config of \(name)")
        guard let rootfs = document.rootfs, (rootfs.type ?? "layers") == "layers" else {
            throw OCIError(.invalidManifest, "the config of \(name) has no rootfs of type \"layers\"")
        }
        guard rootfs.diffIDs.count == layers.count else {
            throw OCIError(
                .invalidManifest,
                "\(name): the manifest has \(layers.count) layers, but the config names \(rootfs.diffIDs.count)")
        }
        return ResolvedImage(
            reference: reference.pinned(to: manifestDigest),
            manifestDigest: manifestDigest,
            manifest: manifest,
            indexDigest: indexDigest,
            platform: try effectivePlatform(announced: announced, stated: document.platform),
            config: config,
            configBytes: bytes,
            layers: zip(zip(layers, compressions), rootfs.diffIDs).map { pair, diffID in
                ImageLayer(descriptor: pair.0, compression: pair.1, diffID: diffID)
            },
            created: document.created.flatMap(secondsSinceEpoch(rfc3339:)))
    }

    private func compression(of layer: Descriptor, number: Int, of count: Int) throws(OCIError) -> LayerCompression {
        if let compression = LayerCompression(layer.mediaType) { return compression }
        let type = layer.mediaType.rawValue
        let place = "\(name): layer \(number) of \(count)"
        if layer.mediaType == .snapshotChunk { throw .isSnapshot(name) }
        if type.contains(".nondistributable.") || type.contains(".foreign.") {
            throw OCIError(
                .unsupportedMediaType,
                "\(place) is a foreign layer (\(printable(type))), which registries do not hold: it is not supported")
        }
        if type.hasSuffix("+encrypted") {
            throw OCIError(.unsupportedMediaType, "\(place) is encrypted (\(printable(type))): decrypt the image first")
        }
        throw OCIError(
            .unsupportedMediaType, "\(place) has the type \(printable(type)), which is no layer of a container image")
    }

    /// What an index announces goes before what the config states: many images for several platforms were built with
    /// the builder's platform in every config. Without an index the config alone decides.
    private func effectivePlatform(announced: Platform?, stated: Platform?) throws(OCIError) -> Platform {
        if let announced {
            if let stated, announced.distance(toOffer: stated) == nil {
                logger.warning(
                    "the index and the config of the image name different platforms; the index is believed",
                    metadata: ["image": "\(name)", "index": "\(announced)", "config": "\(stated)"])
            }
            return announced
        }
        guard let stated else { return platform }
        guard platform.distance(toOffer: stated) != nil else {
            // Who names a manifest by digest has chosen; it may have come from an index whose configs are wrong, and
            // resolving a pinned reference again must give the same image.
            if reference.digest != nil {
                logger.warning(
                    "the image is pinned by digest, but its config names another platform",
                    metadata: ["image": "\(name)", "asked": "\(platform)", "config": "\(stated)"])
                return platform
            }
            throw OCIError(.noMatchingPlatform, "\(name) is not available for \(platform): it is for \(stated) only")
        }
        return stated
    }
}

/// Which entry of an index is for a platform: a pure decision.
struct PlatformChoice {
    let entries: [Descriptor]
    let platform: Platform

    /// The nearest image for the platform; of equals the first, as everywhere. Attestations, artifacts and unknown
    /// types are no candidates. A single entry that names no platform is taken, and checked by its config later.
    func choose(from name: String) throws(OCIError) -> Descriptor {
        let images = entries.filter { $0.mediaType.isManifest && !$0.isAttestation && !isArtifact($0) }
        let ranked = images.compactMap { entry in
            entry.platform.flatMap { platform.distance(toOffer: $0) }.map { (distance: $0, entry: entry) }
        }
        if let nearest = ranked.map(\.distance).min(), let best = ranked.first(where: { $0.distance == nearest }) {
            return best.entry
        }
        let silent = images.filter { $0.platform == nil }
        if let only = silent.first, silent.allSatisfy({ $0.digest == only.digest }) { return only }
        let nested = entries.filter(\.mediaType.isIndex)
        if images.isEmpty, let only = nested.first, nested.allSatisfy({ $0.digest == only.digest }) { return only }

        if images.isEmpty, entries.contains(where: { $0.artifactType == MediaType.snapshot.rawValue }) {
            throw .isSnapshot(name)
        }
        let offered = images.compactMap(\.platform?.description)
        guard !offered.isEmpty else {
            throw OCIError(
                .noMatchingPlatform,
                "\(name) has no image for \(platform): its index names \(entries.count) entries, none with a platform")
        }
        var listed: [String] = []
        for platform in offered where !listed.contains(platform) { listed.append(printable(platform, limit: 60)) }
        let more = listed.count > 40 ? ", and \(listed.count - 40) more" : ""
        throw OCIError(
            .noMatchingPlatform,
            "\(name) is not available for \(platform); available: \(listed.prefix(40).joined(separator: ", "))\(more)")
    }

    private func isArtifact(_ entry: Descriptor) -> Bool {
        entry.artifactType.map { !MediaType(rawValue: $0).isImageConfig } ?? false
    }
}

extension OCIError {
    fileprivate static func isSnapshot(_ name: String) -> OCIError {
        OCIError(
            .unsupportedMediaType,
            "\(name) is a snapshot already, no container image: bring it here with: snapwf snapshots pull \(name)")
    }
}
