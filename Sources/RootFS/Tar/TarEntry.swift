import EXT4

/// One member of a tar archive, with all its extension headers applied.
struct TarEntry {
    enum Kind: Equatable {
        case file
        case directory
        case symbolicLink(target: [UInt8])
        /// `target` is a path of the archive.
        case hardLink(target: [UInt8])
        case characterDevice(major: UInt32, minor: UInt32)
        case blockDevice(major: UInt32, minor: UInt32)
        case fifo

        /// The type bits of `st_mode`; a hard link has its target's.
        var typeBits: UInt16 {
            switch self {
            case .file, .hardLink: 0o100000
            case .directory: 0o040000
            case .symbolicLink: 0o120000
            case .characterDevice: 0o020000
            case .blockDevice: 0o060000
            case .fifo: 0o010000
            }
        }
    }

    /// As it stands in the archive.
    var path: [UInt8]
    var kind: Kind
    /// Permissions with setuid, setgid and sticky: the lower 12 bits.
    var mode: UInt16
    var uid: UInt32
    var gid: UInt32
    var modified: Timestamp
    /// In the order of their names, as the archive has them.
    var xattrs: [ExtendedAttribute]
    /// The text forms of POSIX ACLs.
    var accessACL: [UInt8]?
    var defaultACL: [UInt8]?
    /// Where a file's payload goes.
    var payload: SparseMap
}
