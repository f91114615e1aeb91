import Glibc

/// Removes a file, or a directory tree that somebody hostile may have filled: odd modes, symbolic links, any depth.
///
/// Nothing there is success. Nothing outside of the tree is touched: links are removed and never followed. Safe to repeat,
/// and for two at once.
package func removeTree(_ path: String) throws(FileError) {
    if unlink(path) == 0 || errno == ENOENT { return }
    // unlink(2): EISDIR on Linux, EPERM by POSIX.
    guard errno == EISDIR || errno == EPERM else { throw FileError("remove \(path)", errno: errno) }
    let top = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
    guard top >= 0 else {
        if errno == ENOENT { return }
        throw FileError("open \(path)", errno: errno)
    }
    defer { close(top) }
    try TreeRemoval(top: top, path: path).empty(top, depth: 0)
    guard rmdir(path) == 0 || errno == ENOENT else { throw FileError("remove \(path)", errno: errno) }
}

private struct TreeRemoval {
    /// Deeper directories are moved up first, so that depth costs neither stack nor descriptors.
    private static let deepest = 32

    let top: Int32
    let path: String

    func empty(_ directory: Int32, depth: Int) throws(FileError) {
        while true {
            let names = try entries(directory)
            if names.isEmpty { return }
            for name in names { try remove(name, in: directory, depth: depth) }
            // The top is listed again: deep directories may have been moved there meanwhile.
            if depth > 0 { return }
        }
    }

    private func remove(_ name: [CChar], in directory: Int32, depth: Int) throws(FileError) {
        if unlinkat(directory, name, 0) == 0 || errno == ENOENT { return }
        // unlink(2): EISDIR on Linux, EPERM by POSIX.
        guard errno == EISDIR || errno == EPERM else { throw FileError("remove a file in \(path)", errno: errno) }
        if unlinkat(directory, name, AT_REMOVEDIR) == 0 || errno == ENOENT { return }
        var status = stat()
        guard fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            if errno == ENOENT { return }
            throw FileError("look at a file in \(path)", errno: errno)
        }
        guard status.st_mode & S_IFMT == S_IFDIR else { throw FileError("remove a file in \(path)", errno: EPERM) }
        // The tree's processes are gone, so the name cannot become a symbolic link in between.
        _ = fchmodat(directory, name, 0o700, 0)
        if depth >= Self.deepest {
            guard renameat(directory, name, top, movedName()) == 0 || errno == ENOENT else {
                throw FileError("move a directory in \(path)", errno: errno)
            }
            return
        }
        let inner = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard inner >= 0 else {
            if errno == ENOENT { return }
            throw FileError("open a directory in \(path)", errno: errno)
        }
        defer { close(inner) }
        try empty(inner, depth: depth + 1)
        guard unlinkat(directory, name, AT_REMOVEDIR) == 0 || errno == ENOENT else {
            throw FileError("remove a directory in \(path)", errno: errno)
        }
    }

    private func movedName() -> String {
        let number = UInt64.random(in: 0 ... .max)
        return ".moved-\(String(number, radix: 16))"
    }

    /// The names as the file system has them: they need not be UTF-8.
    private func entries(_ directory: Int32) throws(FileError) -> [[CChar]] {
        let copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard copy >= 0, let stream = fdopendir(copy) else {
            if errno == ENOENT { return [] }
            throw FileError("open a directory in \(path)", errno: errno)
        }
        defer { closedir(stream) }
        var names: [[CChar]] = []
        while let entry = readdir(stream) {
            let name: [CChar] = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { (start) -> [CChar] in
                    Array(UnsafeBufferPointer(start: start, count: strnlen(start, 255))) + [0]
                }
            }
            if name != [0x2E, 0] && name != [0x2E, 0x2E, 0] { names.append(name) }
        }
        return names
    }
}
