import Glibc
import GuestProtocol

/// The first file system of a guest: our agent as its init, and the modules that it needs to reach its disk and us.
struct Initramfs: Sendable {
    /// More than one is kept, for several kernels and versions may be in use.
    private static let mostKept = 8
    private static let prefix = "initramfs-"
    private static let largestFile = 256 << 20

    let agent: String
    /// A directory of modules and the files in it, in the order in which they are loaded.
    private let modules: (directory: String, paths: [String])?
    private let release: String

    init(agent: String, kernel: GuestKernel, machine: GuestMachine) throws(SandboxError) {
        self.agent = agent
        release = kernel.release
        let names = [machine.busModule] + KernelModules.forGuests
        modules = try kernel.modules.map { directory throws(SandboxError) in
            (directory, try KernelModules(directory: directory, for: names).inOrder(names))
        }
    }

    /// The file, made unless it is in the cache.
    ///
    func file(in cache: String) throws(SandboxError) -> String {
        let path = "\(cache)/\(Self.prefix)\(try key()).cpio"
        if linkStatus(path)?.isRegularFile == true { return path }
        // Two that make it at once make the same.
        try SmallFile.replace(path, try bytes(), durable: true)
        // A guest that runs has read its own long ago.
        try keepNewest(Self.mostKept, of: Self.prefix, in: cache)
        return path
    }

    /// The same for the same files: `/init`, `/modules/order` and what it names.
    func bytes() throws(SandboxError) -> [UInt8] {
        var archive = CPIOArchive()
        // The console that the kernel opens for its init; devtmpfs is mounted later, by the init itself.
        try archive.addDirectory("dev")
        try archive.addFile("init", mode: 0o755, try read(agent))
        var order = ""
        for path in modules?.paths ?? [] {
            try archive.addFile("modules/" + path, mode: 0o644, try read("\(modules?.directory ?? "")/\(path)"))
            order += path + "\n"
        }
        try archive.addFile(String(GuestPort.moduleOrder.dropFirst()), mode: 0o644, Array(order.utf8))
        return try archive.finished()
    }

    private func read(_ path: String) throws(SandboxError) -> [UInt8] {
        guard let bytes = try SmallFile.read(path, limit: Self.largestFile) else {
            throw SandboxError(.notFound, "\(path) is missing, which a guest needs to start")
        }
        return bytes
    }

    /// Names the content by what it is made of: which files, how large, and when they were changed last.
    private func key() throws(SandboxError) -> String {
        var text = "1 \(release)\n"
        var paths = [agent]
        if let modules { paths += modules.paths.map { "\(modules.directory)/\($0)" } }
        for path in paths { text += try FileMark(path).description + "\n" }
        return stableHash(text)
    }
}

/// Removes all but the newest files of a directory whose names begin so.
func keepNewest(_ count: Int, of prefix: String, in directory: String) throws(SandboxError) {
    let paths = (try directoryEntries(directory) ?? []).filter { $0.hasPrefix(prefix) }.map { "\(directory)/\($0)" }
    guard paths.count > count else { return }
    let byAge = paths.map { (path: $0, age: linkStatus($0)?.st_mtim.tv_sec ?? 0) }.sorted { $0.age < $1.age }
    for old in byAge.dropLast(count) { _ = unlink(old.path) }
}

/// Which state of which file: another content has another mark, unless somebody sets clocks and sizes right on purpose.
struct FileMark: CustomStringConvertible {
    let description: String

    init(_ path: String) throws(SandboxError) {
        var status = stat()
        guard stat(path, &status) == 0 else { throw .system(errno, "look at \(path)") }
        description =
            "\(path) \(status.st_dev) \(status.st_ino) \(status.st_size) \(status.st_mtim.tv_sec).\(status.st_mtim.tv_nsec)"
    }
}

/// 32 hexadecimal digits of a text, the same in every process: FNV-1a, twice with different beginnings.
func stableHash(_ text: String) -> String {
    [0xCBF2_9CE4_8422_2325 as UInt64, 0x84E6_41B5_90F3_3A6D].map { basis in
        var hash = basis
        for byte in text.utf8 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }.joined()
}
