/// The features of a superblock by the names that mke2fs gives them (kernel documentation, "ext4: The Super Block").
enum FeatureNames {
    static let compatible = [
        "dir_prealloc", "imagic_inodes", "has_journal", "ext_attr", "resize_inode", "dir_index", "lazy_bg",
        "exclude_inode", "exclude_bitmap", "sparse_super2", "fast_commit", "stable_inodes", "orphan_file",
    ]
    static let incompatible = [
        "compression", "filetype", "needs_recovery", "journal_dev", "meta_bg", "FEATURE_I5", "extent", "64bit", "mmp",
        "flex_bg", "ea_inode", "FEATURE_I11", "dirdata", "metadata_csum_seed", "large_dir", "inline_data", "encrypt",
        "casefold",
    ]
    static let readOnlyCompatible = [
        "sparse_super", "large_file", "btree_dir", "huge_file", "uninit_bg", "dir_nlink", "extra_isize",
        "has_snapshot", "quota", "bigalloc", "metadata_csum", "replica", "read-only", "project", "shared_blocks",
        "verity", "orphan_present",
    ]

    /// The names of the bits that are set; one without a name by its number, as dumpe2fs does it.
    static func of(_ bits: UInt32, _ names: [String], kind: String) -> [String] {
        (0..<32).filter { bits >> $0 & 1 == 1 }.map { $0 < names.count ? names[$0] : "FEATURE_\(kind)\($0)" }
    }
}

/// The three words of features that a superblock has.
struct Features: Equatable {
    var compatible: UInt32
    var incompatible: UInt32
    var readOnlyCompatible: UInt32

    /// What every image of this package has.
    static let ours = Features(
        compatible: Superblock.Feature.compatible, incompatible: Superblock.Feature.incompatible,
        readOnlyCompatible: Superblock.Feature.readOnlyCompatible)

    /// What the reader relies on: checksums, extents and descriptors of 64 bytes.
    private static let required = Features(compatible: 0, incompatible: 0x40 | 0x80, readOnlyCompatible: 0x400)

    /// What the reader understands, or may overlook because it only reads. Compatible features are all of that kind.
    /// Besides our own these are metadata_csum_seed, and quota, read-only, project, verity and orphan_present.
    private static let known = Features(
        compatible: ~0, incompatible: ours.incompatible | Superblock.Feature.valueInodes | 0x2000,
        readOnlyCompatible: ours.readOnlyCompatible | 0x100 | 0x1000 | 0x2000 | 0x8000 | 0x1_0000)

    init(compatible: UInt32, incompatible: UInt32, readOnlyCompatible: UInt32) {
        self.compatible = compatible
        self.incompatible = incompatible
        self.readOnlyCompatible = readOnlyCompatible
    }

    init(_ superblock: ByteView) throws(EXT4Error) {
        compatible = try superblock.get(UInt32.self, at: 0x5C)
        incompatible = try superblock.get(UInt32.self, at: 0x60)
        readOnlyCompatible = try superblock.get(UInt32.self, at: 0x64)
    }

    var hasValueInodes: Bool { incompatible & Superblock.Feature.valueInodes != 0 }

    var hasChecksumSeed: Bool { incompatible & 0x2000 != 0 }

    var names: [String] {
        FeatureNames.of(compatible, FeatureNames.compatible, kind: "C")
            + FeatureNames.of(incompatible, FeatureNames.incompatible, kind: "I")
            + FeatureNames.of(readOnlyCompatible, FeatureNames.readOnlyCompatible, kind: "R")
    }

    /// What these have and the others have not.
    func subtracting(_ others: Features) -> Features {
        Features(
            compatible: compatible & ~others.compatible, incompatible: incompatible & ~others.incompatible,
            readOnlyCompatible: readOnlyCompatible & ~others.readOnlyCompatible)
    }

    /// Says which features make an image unreadable, by name.
    func requireReadable() throws(EXT4Error) {
        if incompatible & 0x4 != 0 {
            throw EXT4Error(
                .unsupported,
                "The image was not cleanly unmounted (needs_recovery); mount it once, or run e2fsck, to replay its journal"
            )
        }
        let unknown = subtracting(Features.known).names
        guard unknown.isEmpty else {
            throw EXT4Error(.unsupported, "This reader does not know \(unknown.joined(separator: ", "))")
        }
        let missing = Features.required.subtracting(self).names
        guard missing.isEmpty else {
            throw EXT4Error(
                .unsupported, "This reader needs \(missing.joined(separator: ", ")), which the image does not have")
        }
    }
}
