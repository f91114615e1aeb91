/// An image whose every byte is decided: the manifest was read and verified, the layers are known by digest.
package struct ResolvedImage: Sendable {
    /// The reference asked for, pinned by the manifest's digest. Resolving it again gives the same image.
    package let reference: ImageReference
    package let manifestDigest: Digest
    /// The manifest as a document of a registry; nil where the image has none (`docker save`).
    package let manifest: Descriptor?
    /// The digest of the index that the manifest was chosen from, when there was one.
    package let indexDigest: Digest?
    /// The platform that the image is for, as its index or config states it.
    package let platform: Platform
    package let config: Descriptor
    /// The image config as stored, verified against `config`. JSON.
    package let configBytes: [UInt8]
    /// Lowest layer first.
    package let layers: [ImageLayer]
    /// When the config says that the image was made, in seconds since 1970-01-01T00:00:00Z; nil when it does not say
    /// or says nonsense.
    package let created: Int64?

    package init(
        reference: ImageReference, manifestDigest: Digest, manifest: Descriptor? = nil, indexDigest: Digest?,
        platform: Platform, config: Descriptor, configBytes: [UInt8], layers: [ImageLayer], created: Int64?
    ) {
        self.reference = reference
        self.manifestDigest = manifestDigest
        self.manifest = manifest
        self.indexDigest = indexDigest
        self.platform = platform
        self.config = config
        self.configBytes = configBytes
        self.layers = layers
        self.created = created
    }
}

/// One layer of an image: a tar archive, maybe compressed.
package struct ImageLayer: Sendable, Hashable {
    /// The blob as it is transferred.
    package let descriptor: Descriptor
    /// What the media type says. The blob's first bytes may tell otherwise: see `LayerCompression.init(firstBytes:)`.
    package let compression: LayerCompression
    /// The digest of the uncompressed archive, from the image's config.
    package let diffID: Digest

    package init(descriptor: Descriptor, compression: LayerCompression, diffID: Digest) {
        self.descriptor = descriptor
        self.compression = compression
        self.diffID = diffID
    }
}
