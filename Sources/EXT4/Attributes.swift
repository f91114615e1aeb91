/// A point in time as ext4 keeps it: seconds since 1970 from -2^31 (1901) to 2^34 - 2^31 - 1 (2446).
///
/// From April 2310 to 2378 e2fsck takes it for a date before 1970 that an old kernel wrote wrongly, and offers to change
/// it; it is written all the same.
package struct Timestamp: Sendable, Hashable {
    /// Seconds before the first or after the last expressible one are written as that one, as Linux does it.
    package var seconds: Int64
    /// 0 ..< 1,000,000,000
    package var nanoseconds: UInt32

    /// The first and the last second that can be kept.
    package static let earliest = Timestamp(seconds: -(1 << 31))
    package static let latest = Timestamp(seconds: (1 << 34) - (1 << 31) - 1)
    /// The last second before those that e2fsck doubts.
    package static let latestUndoubted = Timestamp(seconds: 10_737_418_239)

    package init(seconds: Int64, nanoseconds: UInt32 = 0) {
        self.seconds = seconds
        self.nanoseconds = nanoseconds
    }
}

/// An extended attribute as `getxattr(2)` would show it.
package struct ExtendedAttribute: Sendable, Hashable {
    /// The full name with its namespace, such as `security.capability`. ext4 knows `user.`, `trusted.`, `security.`,
    /// `system.` and the two POSIX ACLs.
    package var name: [UInt8]
    /// ACLs (`system.posix_acl_access`, `system.posix_acl_default`) in the form of the system call, version 2.
    package var value: [UInt8]

    package init(name: [UInt8], value: [UInt8]) {
        self.name = name
        self.value = value
    }
}

/// What `stat(2)` and `listxattr(2)` would show of an inode. Access and change time are written as the modification
/// time, so that they do not depend on when the image was made.
package struct Attributes: Sendable, Hashable {
    /// Type and permission bits, as `st_mode`. The type must be the one of the content.
    package var mode: UInt16
    package var uid: UInt32
    package var gid: UInt32
    package var modified: Timestamp
    /// In any order, no name twice.
    package var xattrs: [ExtendedAttribute]

    package init(
        mode: UInt16, uid: UInt32 = 0, gid: UInt32 = 0, modified: Timestamp, xattrs: [ExtendedAttribute] = []
    ) {
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.modified = modified
        self.xattrs = xattrs
    }
}

/// What an inode is.
package enum Content: Sendable {
    /// A regular file whose bytes are in the image already. One `FileData` belongs to one inode.
    case file(FileData)
    case directory
    /// 1 to 4095 bytes, none of them zero.
    case symlink(target: [UInt8])
    /// Major up to 4095, minor up to 1,048,575.
    case characterDevice(major: UInt32, minor: UInt32)
    /// Major up to 4095, minor up to 1,048,575.
    case blockDevice(major: UInt32, minor: UInt32)
    case fifo
    case socket
}
