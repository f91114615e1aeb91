internal import Glibc

/// The file of a Unix socket, which appears only when its permissions are right and a server listens behind it.
struct SocketFile: Sendable {
    let path: String
    /// Where the server binds: in a directory that nobody else can enter.
    let bindPath: String
    private let directory: String

    /// - Throws: `invalidArgument` for a path that cannot be one, `alreadyExists` when a server answers there.
    init(_ path: String) throws(ConnectError) {
        guard path.hasPrefix("/") else {
            throw ConnectError(.invalidArgument, "the path of the socket must be absolute: it begins with a slash")
        }
        let parent = path.contains("/") ? String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)]) : "."
        var template = Array("\(parent.isEmpty ? "/" : parent)/.XXXXXX".utf8CString)
        // The kernel's field has 108 bytes with the zero, and the name to bind at is "/s" longer.
        guard path.utf8.count < 108, template.count + 2 <= 108 else {
            throw ConnectError(.invalidArgument, "the path of the socket is too long: at most 100 bytes")
        }
        if Self.isAnswered(path) {
            throw ConnectError(.alreadyExists, "a server listens already at \(ConnectError.shown(path))")
        }
        guard mkdtemp(&template) != nil else {
            throw ConnectError(
                .unavailable, "no socket can be made at \(ConnectError.shown(path)): \(describe(errno: errno))")
        }
        directory = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        self.path = path
        bindPath = directory + "/s"
    }

    /// Puts the socket, which is bound, at its place; what was there is replaced if it is a socket.
    func publish() throws(ConnectError) {
        var old = stat()
        if lstat(path, &old) == 0, old.st_mode & S_IFMT != S_IFSOCK {
            throw ConnectError(.alreadyExists, "\(ConnectError.shown(path)) exists and is no socket: it is left alone")
        }
        guard chmod(bindPath, 0o600) == 0, rename(bindPath, path) == 0 else {
            throw ConnectError(
                .unavailable, "no socket can be put at \(ConnectError.shown(path)): \(describe(errno: errno))")
        }
        rmdir(directory)
    }

    /// Removes the socket when nobody answers there any more, and what is left of a failed start.
    func remove() {
        unlink(bindPath)
        rmdir(directory)
        if !Self.isAnswered(path), Self.isSocket(path) { unlink(path) }
    }

    private static func isSocket(_ path: String) -> Bool {
        var status = stat()
        return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
    }

    private static func isAnswered(_ path: String) -> Bool {
        guard isSocket(path) else { return false }
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { return false }
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
        let result = withUnsafePointer(to: &address) { address in
            address.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        // A full backlog is somebody's, too.
        return result == 0 || errno == EAGAIN
    }
}

/// The system's words for an error number.
func describe(errno code: CInt) -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    guard strerror_r(code, &buffer, buffer.count) == 0 else { return "error \(code)" }
    return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
