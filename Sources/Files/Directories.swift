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
