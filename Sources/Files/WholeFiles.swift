package import Glibc

/// The bytes of a small file; nil when there is none. A file larger than `limit` is an error (`EFBIG`).
package func readFile(_ path: String, limit: Int) throws(FileError) -> [UInt8]? {
    let file: OpenFile
    do {
        file = try OpenFile(path, O_RDONLY)
    } catch {
        if error.errno == ENOENT { return nil }
        throw error
    }
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: limit + 1, alignment: 1)
    defer { buffer.deallocate() }
    let count = try file.read(into: buffer, at: 0)
    guard count <= limit else { throw FileError("read \(path), which is larger than \(limit) bytes", errno: EFBIG) }
    return Array(buffer[..<count])
}

/// Writes a new or truncated file and makes its bytes durable, though not yet its name: see ``syncDirectory(_:)``.
package func writeFile(_ path: String, _ bytes: [UInt8], mode: mode_t) throws(FileError) {
    let file = try OpenFile(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode: mode)
    try file.write(bytes)
    try file.sync()
}

/// Replaces a file as a whole: after a crash there is the old one or the new one, and at worst `<path>.partial`.
///
/// Of several that do so at once each waits for the one before it, ten seconds at most.
package func replaceFile(_ path: String, _ bytes: [UInt8], mode: mode_t) throws(FileError) {
    let partial = try PartialFile(for: path, mode: mode, patience: .seconds(10))
    try partial.file.write(bytes)
    try partial.file.sync()
    try partial.publish()
}

/// Renames and makes the new name durable. Both names must be on one file system.
package func renameDurably(_ from: String, to path: String) throws(FileError) {
    try retryingInterrupts("rename \(from) to \(path)") { rename(from, path) }
    try syncDirectory(parentDirectory(of: path))
}

/// After this the names in a directory survive a power loss.
package func syncDirectory(_ path: String) throws(FileError) {
    try OpenFile(path, O_RDONLY | O_DIRECTORY).sync()
}

/// The directory that holds `path`: "." for a bare name.
package func parentDirectory(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
}

/// Whether something has this name; a symbolic link counts as itself.
package func fileExists(_ path: String) -> Bool {
    var status = stat()
    return lstat(path, &status) == 0
}
