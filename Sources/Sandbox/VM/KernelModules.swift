import Glibc

/// Which files of a kernel's module directory give some modules, in the order in which they can be loaded.
struct KernelModules: Sendable {
    /// What a guest needs for its disk, its console port, its network and its entropy, besides the bus. Those that a kernel
    /// does not have, it may do without; the disk's and the port's are found missing when the guest does not answer.
    /// ext4 asks for its checksum by name and not as a dependency.
    static let forGuests = [
        "virtio_console", "virtio_blk", "virtio_rng", "virtio_net", "crc32c_generic", "ext4",
    ]

    private struct File: Sendable {
        /// Relative to the directory.
        var path: String
        var needs: [String]
    }

    /// By the modules' names, with `_` for `-`, as the kernel calls them.
    private var files: [String: File] = [:]
    private var builtin: Set<String> = []

    /// Reads `modules.dep` (depmod(8)) and `modules.builtin`. Where depmod never ran, as in a package's tree that is not
    /// installed, the modules tell their needs themselves.
    ///
    /// - Parameter names: the modules that will be asked for.
    init(directory: String, for names: [String]) throws(SandboxError) {
        let limit = 16 << 20
        for line in Self.lines(try SmallFile.read(directory + "/modules.builtin", limit: limit) ?? []) {
            builtin.insert(Self.name(ofPath: line))
        }
        if let table = try SmallFile.read(directory + "/modules.dep", limit: limit) {
            files = Self.parse(table)
        } else {
            try readNeeds(of: names, in: directory)
        }
    }

    init(table: [UInt8], builtin: [String]) {
        files = Self.parse(table)
        self.builtin = Set(builtin)
    }

    /// The files for these modules and for all that they need, each after what it needs.
    ///
    /// Modules that are built in, or that the kernel does not have, take no file.
    func inOrder(_ names: [String]) -> [String] {
        var order: [String] = []
        var seen: Set<String> = []
        func add(_ name: String) {
            // Seen before it is followed: a table with a loop in it ends, too.
            guard !builtin.contains(name), let file = files[name], seen.insert(name).inserted else { return }
            for other in file.needs { add(other) }
            order.append(file.path)
        }
        for name in names { add(name) }
        return order
    }

    /// `kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko kernel/…`
    private static func parse(_ table: [UInt8]) -> [String: File] {
        var files: [String: File] = [:]
        for line in lines(table) {
            guard let colon = line.firstIndex(of: ":") else { continue }
            let path = String(line[..<colon])
            // What is needed last stands first; followed one by one, the order does not matter.
            let needs = line[line.index(after: colon)...].split(separator: " ").map { name(ofPath: String($0)) }
            files[name(ofPath: path)] = File(path: path, needs: needs)
        }
        return files
    }

    private static func lines(_ bytes: [UInt8]) -> [String] {
        bytes.split(separator: UInt8(ascii: "\n")).map { String(decoding: $0, as: UTF8.self) }
    }

    static func name(ofPath path: String) -> String {
        let last = path.split(separator: "/").last ?? ""
        return String(last.prefix { $0 != "." }).replacing("-", with: "_")
    }

    // MARK: Without a table

    /// No tree of modules is deeper.
    private static let deepest = 12

    private mutating func readNeeds(of names: [String], in directory: String) throws(SandboxError) {
        var paths: [String: String] = [:]
        try Self.find("kernel", in: directory, depth: 0, &paths)
        var waiting = names
        while let name = waiting.popLast() {
            guard files[name] == nil, let path = paths[name] else { continue }
            guard path.hasSuffix(".ko") else {
                throw SandboxError(
                    .incompatible,
                    "\(directory) has no modules.dep, and its modules are compressed, so nothing tells what they need; "
                        + "as root: depmod \(directory.split(separator: "/").last ?? "")")
            }
            guard let bytes = try SmallFile.read("\(directory)/\(path)", limit: 64 << 20) else { continue }
            let needs = Self.needs(inModule: bytes)
            files[name] = File(path: path, needs: needs)
            waiting += needs
        }
    }

    private static func find(
        _ path: String, in directory: String, depth: Int, _ paths: inout [String: String]
    ) throws(SandboxError) {
        guard depth < deepest else { return }
        for name in try directoryEntries("\(directory)/\(path)") ?? [] {
            if [".ko", ".ko.xz", ".ko.zst", ".ko.gz"].contains(where: { name.hasSuffix($0) }) {
                paths[self.name(ofPath: name)] = "\(path)/\(name)"
            } else if linkStatus("\(directory)/\(path)/\(name)")?.isDirectory == true {
                try find("\(path)/\(name)", in: directory, depth: depth + 1, &paths)
            }
        }
    }

    /// The section `.modinfo` is a row of NUL-terminated "key=value" texts (include/linux/moduleparam.h).
    static func needs(inModule bytes: [UInt8]) -> [String] {
        let key = Array("depends=".utf8)
        let text = bytes.split(separator: 0).first { $0.starts(with: key) }
        return (text?.dropFirst(key.count) ?? []).split(separator: UInt8(ascii: ",")).map {
            String(decoding: $0, as: UTF8.self).replacing("-", with: "_")
        }
    }
}
