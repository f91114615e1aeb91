import CLinux
import Files
import Glibc

/// An open descriptor that is closed when its owner goes.
struct Descriptor: ~Copyable, Sendable {
    /// Negative for none, as poll(2) has it.
    let raw: Int32

    init(_ raw: Int32) {
        self.raw = raw
    }

    deinit {
        if raw >= 0 { _ = Glibc.close(raw) }
    }

    static var none: Descriptor { Descriptor(-1) }

    /// An anonymous file in memory.
    static func memoryFile() throws(SandboxError) -> Descriptor {
        let raw = clinux_memory_file()
        guard raw >= 0 else { throw .system(-raw, "make a file in memory") }
        return Descriptor(raw)
    }

    /// Opens a file close-on-exec.
    static func open(_ path: String, _ flags: Int32, mode: mode_t = 0o600) throws(SandboxError) -> Descriptor {
        let raw = retrying { Glibc.open(path, flags | O_CLOEXEC, mode) }
        guard raw >= 0 else { throw .system(errno, "open \(path)") }
        return Descriptor(raw)
    }

    /// - Returns: `nil` when there is no such file.
    static func openIfThere(_ path: String, _ flags: Int32) throws(SandboxError) -> Descriptor? {
        let raw = retrying { Glibc.open(path, flags | O_CLOEXEC) }
        if raw < 0 && (errno == ENOENT || errno == ENOTDIR) { return nil }
        guard raw >= 0 else { throw .system(errno, "open \(path)") }
        return Descriptor(raw)
    }
}

/// Both ends of a pipe, close-on-exec.
struct Pipe: ~Copyable {
    let read: Descriptor
    let write: Descriptor

    init() throws(SandboxError) {
        var ends: [Int32] = [-1, -1]
        let result = clinux_pipe(&ends)
        guard result >= 0 else { throw .system(-result, "make a pipe") }
        read = Descriptor(ends[0])
        write = Descriptor(ends[1])
    }

    /// Closes the write end here: with it open, the other side's end would never be seen.
    consuming func readEnd() -> Descriptor { read }

    /// Closes the read end here.
    consuming func writeEnd() -> Descriptor { write }
}

/// Repeats a call that a signal interrupted.
func retrying<Number: SignedInteger>(_ call: () -> Number) -> Number {
    while true {
        let result = call()
        if result != -1 || errno != EINTR { return result }
    }
}

extension SandboxError {
    /// The error of a system call.
    static func system(_ number: Int32, _ what: String) -> SandboxError {
        let reason = reasonText(number)
        return switch number {
        case ENOSPC, EDQUOT: SandboxError(.outOfSpace, "cannot \(what): \(reason); free some space there")
        case EACCES, EPERM, EROFS: SandboxError(.notPermitted, "cannot \(what): \(reason)")
        case ENOENT: SandboxError(.notFound, "cannot \(what): \(reason)")
        case EAGAIN, EMFILE, ENFILE, ENOMEM: SandboxError(.unavailable, "cannot \(what): \(reason); try again later")
        default: SandboxError(.system, "cannot \(what): \(reason) (errno \(number))")
        }
    }

    private static func reasonText(_ number: Int32) -> String {
        var buffer = [CChar](repeating: 0, count: 128)
        _ = strerror_r(number, &buffer, buffer.count)
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// Small files, read and replaced as a whole.
enum SmallFile {
    /// - Returns: `nil` when there is no such file.
    /// - Throws: code `corrupt` when it is longer than `limit`.
    static func read(_ path: String, limit: Int = 1 << 20) throws(SandboxError) -> [UInt8]? {
        guard let file = try Descriptor.openIfThere(path, O_RDONLY) else { return nil }
        return try read(file, path: path, limit: limit)
    }

    static func read(_ file: borrowing Descriptor, path: String, limit: Int) throws(SandboxError) -> [UInt8] {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        let raw = file.raw
        while true {
            let count = retrying { Glibc.read(raw, &chunk, chunk.count) }
            // A process that ends while its /proc file is read answers ESRCH: nothing more to read.
            if count < 0 && errno == ESRCH { return bytes }
            guard count >= 0 else { throw .system(errno, "read \(path)") }
            if count == 0 { return bytes }
            guard bytes.count + count <= limit else {
                throw SandboxError(.corrupt, "\(path) is longer than \(limit) bytes, which nothing here writes")
            }
            bytes += chunk[..<count]
        }
    }

    /// The first bytes of a file, wherever it is read or written now.
    static func readStart(_ descriptor: Int32) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = retrying { pread(descriptor, &bytes, bytes.count, 0) }
        return Array(bytes.prefix(max(0, count)))
    }

    /// Replaces a file at once: whoever reads sees the old bytes or the new ones.
    ///
    /// - Parameter durable: whether it is on disk before the name is.
    static func replace(_ path: String, _ bytes: [UInt8], durable: Bool) throws(SandboxError) {
        let aside = "\(path).\(randomName(8)).new"
        do throws(SandboxError) {
            let file = try Descriptor.open(aside, O_WRONLY | O_CREAT | O_EXCL)
            try write(file, bytes, path: aside)
            if durable && fsync(file.raw) != 0 { throw SandboxError.system(errno, "sync \(aside)") }
            guard rename(aside, path) == 0 else { throw SandboxError.system(errno, "rename \(aside)") }
        } catch {
            _ = unlink(aside)
            throw error
        }
    }

    static func write(_ file: borrowing Descriptor, _ bytes: [UInt8], path: String) throws(SandboxError) {
        var rest = bytes[...]
        let raw = file.raw
        while !rest.isEmpty {
            let count = retrying { rest.withUnsafeBytes { Glibc.write(raw, $0.baseAddress, $0.count) } }
            guard count > 0 else { throw .system(count < 0 ? errno : EIO, "write \(path)") }
            rest = rest.dropFirst(count)
        }
    }

    /// Puts a directory's entries on disk.
    static func syncDirectory(_ path: String) throws(SandboxError) {
        let directory = try Descriptor.open(path, O_RDONLY | O_DIRECTORY)
        guard fsync(directory.raw) == 0 else { throw .system(errno, "sync \(path)") }
    }
}

/// Lower-case hexadecimal digits that nobody guesses.
func randomName(_ count: Int) -> String {
    var generator = SystemRandomNumberGenerator()
    return String((0..<count).map { _ in "0123456789abcdef".randomElement(using: &generator) ?? "0" })
}

/// Removes a tree of files, whatever a sandbox put into it: see `removeTree(_:)`.
func removeFiles(_ path: String) throws(SandboxError) {
    do {
        try removeTree(path)
    } catch {
        throw .system(error.errno, error.action)
    }
}

/// What lstat(2) tells, or `nil` when there is nothing.
func linkStatus(_ path: String) -> stat? {
    var status = stat()
    return lstat(path, &status) == 0 ? status : nil
}

extension stat {
    var isDirectory: Bool { st_mode & S_IFMT == S_IFDIR }
    var isSymbolicLink: Bool { st_mode & S_IFMT == S_IFLNK }
    var isRegularFile: Bool { st_mode & S_IFMT == S_IFREG }
}

/// The names in a directory, without `.` and `..`, or `nil` when it is not there.
func directoryEntries(_ path: String) throws(SandboxError) -> [String]? {
    guard let stream = opendir(path) else {
        if errno == ENOENT { return nil }
        throw .system(errno, "open \(path)")
    }
    defer { closedir(stream) }
    var names: [String] = []
    while true {
        errno = 0
        guard let entry = readdir(stream) else {
            guard errno == 0 else { throw .system(errno, "list \(path)") }
            return names
        }
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != "." && name != ".." { names.append(name) }
    }
}

/// What a non-blocking descriptor has to give right now.
func drain(_ descriptor: Int32, limit: Int) -> [UInt8] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4096)
    while bytes.count < limit {
        let count = retrying { read(descriptor, &chunk, min(chunk.count, limit - bytes.count)) }
        if count <= 0 { break }
        bytes += chunk[..<count]
    }
    return bytes
}
