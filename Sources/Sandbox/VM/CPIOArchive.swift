/// A cpio archive as the kernel unpacks it into its first file system: the form "newc"
/// (Documentation/driver-api/early-userspace/buffer-format.rst).
///
/// The bytes depend on the entries alone: no time, no owner but root.
struct CPIOArchive: Sendable {
    private(set) var bytes: [UInt8] = []
    private var inode: UInt32 = 0
    private var directories: Set<String> = []

    /// Adds a regular file and the directories above it.
    ///
    /// - Parameters:
    ///   - path: relative.
    ///   - mode: the permission bits.
    mutating func addFile(_ path: String, mode: UInt32, _ contents: [UInt8]) throws(SandboxError) {
        try addParents(of: path)
        try add(path, mode: 0o100_000 | mode, links: 1, contents)
    }

    /// Adds a directory unless it is there.
    mutating func addDirectory(_ path: String) throws(SandboxError) {
        guard !directories.contains(path) else { return }
        try addParents(of: path)
        directories.insert(path)
        try add(path, mode: 0o040_755, links: 2, [])
    }

    /// The archive with its end, padded to whole blocks of 512 bytes.
    consuming func finished() throws(SandboxError) -> [UInt8] {
        inode = 0
        try add("TRAILER!!!", mode: 0, links: 1, [])
        bytes += [UInt8](repeating: 0, count: (512 - bytes.count % 512) % 512)
        return bytes
    }

    private mutating func addParents(of path: String) throws(SandboxError) {
        guard let slash = path.lastIndex(of: "/") else { return }
        try addDirectory(String(path[..<slash]))
    }

    private mutating func add(_ path: String, mode: UInt32, links: UInt32, _ contents: [UInt8]) throws(SandboxError) {
        guard let size = UInt32(exactly: contents.count), !path.utf8.contains(0), path.utf8.count < 4096 else {
            throw SandboxError(.invalidArgument, "\(path) does not fit in an initramfs: 4 GiB is the most")
        }
        let isEnd = mode == 0
        if !isEnd { inode += 1 }
        bytes += "070701".utf8
        let fields = [
            isEnd ? 0 : inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, UInt32(path.utf8.count + 1), 0,
        ]
        for field in fields { append(field) }
        bytes += path.utf8
        bytes.append(0)
        pad()
        bytes += contents
        pad()
    }

    private mutating func append(_ number: UInt32) {
        let digits = Array("0123456789ABCDEF".utf8)
        for shift in stride(from: 28, through: 0, by: -4) { bytes.append(digits[Int(number >> UInt32(shift)) & 15]) }
    }

    private mutating func pad() {
        bytes += [UInt8](repeating: 0, count: (4 - bytes.count % 4) % 4)
    }
}
