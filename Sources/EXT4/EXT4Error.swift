/// Why an image could not be written or read.
package struct EXT4Error: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Code: Sendable, Equatable {
        /// The content does not fit into the size that was asked for; an image of `needed` bytes would hold it.
        case sizeTooSmall(needed: UInt64)
        /// More than the format, or this writer, can hold: image, file, directory, number of inodes.
        case tooLarge
        /// A name that no directory entry can have: empty, over 255 bytes, `.`, `..`, or with a `/` or a zero byte.
        case invalidName
        /// Two entries of one directory have the same name.
        case duplicateName
        /// More hard links than an inode can count, or a second name for a directory.
        case tooManyLinks
        /// The tree is no tree: an inode without a name, a directory in itself, an entry in something else than a
        /// directory.
        case invalidTree
        /// Attributes that ext4 cannot express: type and content differ, a symlink target of no or too many bytes, a
        /// device number out of range, nanoseconds of a second and more.
        case invalidAttributes
        /// An extended attribute that ext4 cannot hold: an unknown namespace, a malformed ACL, too many bytes.
        case invalidExtendedAttribute
        /// The calls came in an order that makes no sense, such as `append` without `beginFile`.
        case misuse
        /// The file system under the image refused: `errno` says why.
        case io
        /// There is nothing at that path in the image.
        case notFound
        /// The image is no ext4, or damaged.
        case corrupt
        /// The image is ext4 and may well be sound, and uses what this reader does not know.
        case unsupported
    }

    package let code: Code
    /// What failed, why, and what to do about it.
    package let message: String
    /// The system's error number where the system refused.
    package let errno: Int32?

    package init(_ code: Code, _ message: String, errno: Int32? = nil) {
        self.code = code
        self.message = message
        self.errno = errno
    }

    package var description: String {
        if let errno {
            return "\(message) (errno \(errno))"
        }
        return message
    }
}
