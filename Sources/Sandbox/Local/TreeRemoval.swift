import Glibc

/// Removes a directory tree that somebody hostile may have filled: odd modes, symbolic links, any depth.
///
/// Nothing outside of the tree is touched: links are removed and never followed. Safe to repeat, and for two at once.
func removeTree(_ path: String) throws(SandboxError) {
    let directory = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
    guard directory >= 0 else {
        if errno == ENOENT { return }
        throw .system(errno, "open \(path)")
    }
    let top = Descriptor(directory)
    try TreeRemoval(top: top.raw, path: path).empty(top.raw, depth: 0)
    guard rmdir(path) == 0 || errno == ENOENT else { throw .system(errno, "remove \(path)") }
}

private struct TreeRemoval {
    /// Deeper directories are moved up first, so that depth costs neither stack nor descriptors.
    private static let deepest = 32

    let top: Int32
    let path: String

    func empty(_ directory: Int32, depth: Int) throws(SandboxError) {
        while true {
            let names = try entries(directory)
            if names.isEmpty { return }
            for name in names { try remove(name, in: directory, depth: depth) }
            // The top is listed again: deep directories may have been moved there meanwhile.
            if depth > 0 { return }
        }
    }

    private func remove(_ name: [CChar], in directory: Int32, depth: Int) throws(SandboxError) {
        if unlinkat(directory, name, 0) == 0 || errno == ENOENT { return }
        // unlink(2): EISDIR on Linux, EPERM by POSIX.
        guard errno == EISDIR || errno == EPERM else { throw .system(errno, "remove a file in \(path)") }
        if unlinkat(directory, name, AT_REMOVEDIR) == 0 || errno == ENOENT { return }
        var status = stat()
        guard fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            if errno == ENOENT { return }
            throw .system(errno, "look at a file in \(path)")
        }
        guard status.isDirectory else { throw .system(EPERM, "remove a file in \(path)") }
        // The tree's processes are gone, so the name cannot become a symbolic link in between.
        _ = fchmodat(directory, name, 0o700, 0)
        if depth >= Self.deepest {
            guard renameat(directory, name, top, randomName(24)) == 0 || errno == ENOENT else {
                throw .system(errno, "move a directory in \(path)")
            }
            return
        }
        let inner = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard inner >= 0 else {
            if errno == ENOENT { return }
            throw .system(errno, "open a directory in \(path)")
        }
        let child = Descriptor(inner)
        try empty(child.raw, depth: depth + 1)
        guard unlinkat(directory, name, AT_REMOVEDIR) == 0 || errno == ENOENT else {
            throw .system(errno, "remove a directory in \(path)")
        }
    }

    /// The names as the file system has them: they need not be UTF-8.
    private func entries(_ directory: Int32) throws(SandboxError) -> [[CChar]] {
        let copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard copy >= 0, let stream = fdopendir(copy) else {
            if errno == ENOENT { return [] }
            throw .system(errno, "open a directory in \(path)")
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
