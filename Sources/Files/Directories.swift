package import Glibc

/// Makes a directory and those above it that are missing.
package func makeDirectories(_ path: String, mode: mode_t) throws(FileError) {
    if mkdir(path, mode) == 0 { return }
    switch errno {
    case EEXIST:
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR else {
            throw FileError("make the directory \(path)", errno: ENOTDIR)
        }
    case ENOENT:
        let parent = parentDirectory(of: path)
        guard parent != path else { throw FileError("make the directory \(path)", errno: ENOENT) }
        try makeDirectories(parent, mode: mode)
        if mkdir(path, mode) != 0, errno != EEXIST { throw FileError("make the directory \(path)", errno: errno) }
    case let failure:
        throw FileError("make the directory \(path)", errno: failure)
    }
}

/// The names in a directory without `.` and `..`, sorted; empty when there is no such directory.
package func directoryNames(_ path: String) throws(FileError) -> [String] {
    guard let stream = opendir(path) else {
        if errno == ENOENT { return [] }
        throw FileError("list \(path)", errno: errno)
    }
    defer { closedir(stream) }
    var names: [String] = []
    while true {
        errno = 0
        guard let entry = readdir(stream) else {
            if errno != 0 { throw FileError("list \(path)", errno: errno) }
            return names.sorted()
        }
        let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
            pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != ".", name != ".." { names.append(name) }
    }
}

/// Removes a file, or a directory with all that is in it. Nothing there is success; symbolic links are not followed.
package func removeTree(_ path: String) throws(FileError) {
    var status = stat()
    guard lstat(path, &status) == 0 else {
        if errno == ENOENT { return }
        throw FileError("remove \(path)", errno: errno)
    }
    guard status.st_mode & S_IFMT == S_IFDIR else {
        if unlink(path) != 0, errno != ENOENT { throw FileError("remove \(path)", errno: errno) }
        return
    }
    if status.st_mode & 0o700 != 0o700 { chmod(path, 0o700) }
    for name in try directoryNames(path) { try removeTree(path + "/" + name) }
    if rmdir(path) != 0, errno != ENOENT { throw FileError("remove \(path)", errno: errno) }
}
