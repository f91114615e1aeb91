import Glibc

/// Stream sockets that have a name in a directory. The name is given through `/proc/self/fd`, because a socket's address
/// holds no more than 107 bytes and a state directory may be deep.
enum UnixSocket {
    /// Listens; only this user may connect.
    static func listen(_ name: String, in directory: String) throws(SandboxError) -> Descriptor {
        let place = try Descriptor.open(directory, O_RDONLY | O_DIRECTORY)
        let socket = try make()
        let raw = socket.raw
        _ = unlink("\(directory)/\(name)")
        let before = umask(0o177)
        let result = withAddress("/proc/self/fd/\(place.raw)/\(name)") { bind(raw, $0, $1) }
        let failure = errno
        umask(before)
        guard result == 0 else { throw .system(failure, "make the socket \(directory)/\(name)") }
        guard Glibc.listen(raw, 128) == 0 else { throw .system(errno, "listen at \(directory)/\(name)") }
        setNonBlocking(raw)
        return socket
    }

    /// - Returns: `nil` when nobody listens there (any more).
    static func connect(_ name: String, in directory: String) throws(SandboxError) -> Descriptor? {
        guard let place = try Descriptor.openIfThere(directory, O_RDONLY | O_DIRECTORY) else { return nil }
        let socket = try make()
        let raw = socket.raw
        let result = retrying { withAddress("/proc/self/fd/\(place.raw)/\(name)") { Glibc.connect(raw, $0, $1) } }
        if result == 0 { return socket }
        if errno == ECONNREFUSED || errno == ENOENT || errno == ENOTDIR { return nil }
        throw .system(errno, "connect to \(directory)/\(name)")
    }

    /// - Returns: `nil` when nobody waits, or it cannot be taken now.
    static func accept(_ listener: Int32) -> Int32? {
        let raw = retrying { Glibc.accept(listener, nil, nil) }
        guard raw >= 0 else { return nil }
        _ = fcntl(raw, F_SETFD, FD_CLOEXEC)
        return raw
    }

    private static func make() throws(SandboxError) -> Descriptor {
        let raw = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard raw >= 0 else { throw .system(errno, "make a socket") }
        return Descriptor(raw)
    }

    private static func withAddress(
        _ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
    ) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
    }
}
