import CLinux
import Glibc

/// One sandbox of this host on disk, whichever provider made it.
///
///     spec      what was asked for, labels included; there before anything runs, never changed
///     expires   when the time to live ends; replaced as a whole
///     state     what the shim tells; replaced as a whole
///     lock      held by the maker and then, without a gap, by the shim: held means alive
///     log       the shim's own complaints
///
/// Beside them is what the provider itself needs, such as ``workPath`` or the disk of a guest.
/// Whoever removes it renames it first, so a directory under its own name is always whole.
struct SandboxDirectory: Sendable {
    static let makingPrefix = ".new-"
    static let goingPrefix = ".gone-"

    let path: String

    var lockPath: String { path + "/lock" }
    var specPath: String { path + "/spec" }
    var statePath: String { path + "/state" }
    var expiresPath: String { path + "/expires" }
    var logPath: String { path + "/log" }

    /// A name this provider gives, and nothing that could lead elsewhere.
    static func isValid(_ id: SandboxID) -> Bool {
        id.rawValue.hasPrefix("sb-") && id.rawValue.utf8.count <= 64
            && id.rawValue.utf8.dropFirst(3).allSatisfy { (0x30...0x39).contains($0) || (0x61...0x7A).contains($0) }
    }

    /// Makes the directory under a temporary name, whole and on disk.
    ///
    /// - Parameter fill: makes what the provider needs in it.
    /// - Returns: the descriptor that holds the lock.
    func make(
        spec: SpecRecord, expiry: Expiry, fill: (SandboxDirectory) throws(SandboxError) -> Void
    ) throws(SandboxError) -> Descriptor {
        guard mkdir(path, 0o700) == 0 else { throw .system(errno, "make \(path)") }
        // The lock gets its name when it is held, so that under this name a free lock means a dead maker.
        let lock = try Descriptor.open(lockPath + ".new", O_RDWR | O_CREAT | O_EXCL)
        let result = clinux_lock(lock.raw)
        guard result >= 0 else { throw .system(-result, "lock \(lockPath)") }
        guard rename(lockPath + ".new", lockPath) == 0 else { throw .system(errno, "rename \(lockPath).new") }
        try fill(self)
        try SmallFile.replace(expiresPath, expiry.record.bytes, durable: true)
        try SmallFile.replace(specPath, spec.record.bytes, durable: true)
        try SmallFile.syncDirectory(path)
        return lock
    }

    /// Whether the maker or the shim lives; `nil` when the directory is gone.
    func isHeld() throws(SandboxError) -> Bool? {
        guard let lock = try Descriptor.openIfThere(lockPath, O_RDWR) else { return nil }
        let result = clinux_is_locked(lock.raw)
        guard result >= 0 else { throw .system(-result, "ask for the lock \(lockPath)") }
        return result == 1
    }

    /// Takes the lock of a sandbox whose shim is gone.
    ///
    /// - Returns: the descriptor that holds it; `.held` while somebody has it, `.gone` without the directory.
    func takeLock() throws(SandboxError) -> LockResult {
        guard let lock = try Descriptor.openIfThere(lockPath, O_RDWR) else { return .gone }
        let result = clinux_lock(lock.raw)
        if result == -EAGAIN || result == -EACCES { return .held }
        guard result >= 0 else { throw .system(-result, "lock \(lockPath)") }
        // Somebody may have renamed and removed the directory between the two calls.
        return isLockFile(lock.raw) ? .taken(lock) : .gone
    }

    /// Whether an open file is the one under ``lockPath`` now.
    func isLockFile(_ descriptor: Int32) -> Bool {
        var open = stat()
        guard let named = linkStatus(lockPath), fstat(descriptor, &open) == 0 else { return false }
        return named.st_ino == open.st_ino && named.st_dev == open.st_dev
    }

    /// - Returns: `nil` when the directory is gone.
    func readSpec() throws(SandboxError) -> SpecRecord? {
        guard let bytes = try SmallFile.read(specPath, limit: 16 << 20) else { return nil }
        guard let spec = SpecRecord(bytes) else {
            throw SandboxError(.corrupt, "\(specPath) is no sandbox record; remove \(path) if nothing in it matters")
        }
        return spec
    }

    /// - Returns: `nil` before the shim wrote it, and for one that a power failure cut.
    func readState() throws(SandboxError) -> StateRecord? {
        try SmallFile.read(statePath).flatMap { StateRecord($0) }
    }

    func readExpiry() throws(SandboxError) -> Expiry? {
        try SmallFile.read(expiresPath).flatMap { Expiry($0) }
    }
}

enum LockResult: ~Copyable {
    case taken(Descriptor)
    case held
    case gone
}
