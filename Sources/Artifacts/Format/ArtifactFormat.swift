package import OCI

/// The names and numbers of a snapshot as an OCI artifact.
package enum ArtifactFormat {
    package static let artifactType = MediaType.snapshot.rawValue
    package static let chunkType = MediaType.snapshotChunk
    /// Logical bytes of a chunk; the last one of an image may be shorter.
    package static let chunkSize = 64 << 20
    /// As large as a registry takes a manifest (distribution specification: at least 4 MiB).
    static let largestManifest = 4 << 20
    /// Bytes of an image: the largest file system, and room for its hash tree.
    static let largestImage = 16 << 40

    enum Annotation {
        static let size = "vnd.snapwf.rootfs.size"
        static let sha256 = "vnd.snapwf.rootfs.sha256"
        static let uuid = "vnd.snapwf.rootfs.uuid"
        static let key = "vnd.snapwf.rootfs.key"
        static let platform = "vnd.snapwf.rootfs.platform"
        static let entries = "vnd.snapwf.rootfs.entries"
        static let layerBytes = "vnd.snapwf.rootfs.layer-bytes"
        static let sourceDateEpoch = "vnd.snapwf.rootfs.source-date-epoch"
        static let verityRootHash = "vnd.snapwf.rootfs.verity.root-hash"
        static let veritySalt = "vnd.snapwf.rootfs.verity.salt"
        static let verityUUID = "vnd.snapwf.rootfs.verity.uuid"
        static let verityDataBlocks = "vnd.snapwf.rootfs.verity.data-blocks"
        static let verityHashOffset = "vnd.snapwf.rootfs.verity.hash-offset"
        static let chunkOffset = "vnd.snapwf.rootfs.chunk.offset"
        static let chunkSize = "vnd.snapwf.rootfs.chunk.size"
        static let chunkDigest = "vnd.snapwf.rootfs.chunk.digest"
        // OCI image specification, "Pre-Defined Annotation Keys".
        static let baseName = "org.opencontainers.image.base.name"
        static let baseDigest = "org.opencontainers.image.base.digest"
    }
}

/// A stretch of the image that is not all zeros, as the registry holds it.
package struct Chunk: Sendable, Hashable {
    /// Where it stands in the image, in bytes.
    package let offset: Int
    /// Its bytes in the image.
    package let size: Int
    /// Of those bytes.
    package let content: Digest
    /// The compressed blob.
    package let blob: Digest
    package let blobSize: Int64

    package var range: Range<Int> { offset..<offset + size }

    /// With the annotations that say what it is.
    package var descriptor: Descriptor {
        Descriptor(
            mediaType: ArtifactFormat.chunkType, digest: blob, size: blobSize,
            annotations: [
                ArtifactFormat.Annotation.chunkOffset: "\(offset)", ArtifactFormat.Annotation.chunkSize: "\(size)",
                ArtifactFormat.Annotation.chunkDigest: content.description,
            ])
    }
}
