import Glibc

/// A Linux kernel of this host that guests boot, with its modules.
package struct GuestKernel: Hashable, Sendable {
    /// The bzImage.
    package let path: String
    /// As `uname -r` says it, such as `6.1.0-56-cloud-amd64`.
    package let release: String
    /// The directory of that release's modules; `nil` where there is none, which suits a kernel with everything built in.
    package let modules: String?

    /// A kernel that somebody named.
    ///
    /// Its modules are looked for where a package's tree has them, `../lib/modules/<release>` from the kernel's directory,
    /// and then below `/lib/modules`.
    package init(at path: String) throws(SandboxError) {
        release = try Self.release(of: path)
        self.path = path
        let directory = path.split(separator: "/").dropLast(2).map { "/" + $0 }.joined()
        modules = ["\(directory)/lib/modules/\(release)", "/lib/modules/\(release)"]
            .first { linkStatus($0)?.isDirectory == true }
    }

    /// The kernel that was named, or the newest one in `boot` whose modules are there.
    ///
    /// - Parameters:
    ///   - named: the path that a flag or the environment gives.
    ///   - boot: where this host keeps its kernels.
    package static func find(_ named: String?, boot: String = "/boot") throws(SandboxError) -> GuestKernel {
        if let named { return try GuestKernel(at: named) }
        let names = (try directoryEntries(boot) ?? []).filter { $0.hasPrefix("vmlinuz-") }
        var refused: SandboxError?
        for name in names.sorted(by: { isOlder($1, $0) }) {
            do throws(SandboxError) {
                let kernel = try GuestKernel(at: boot + "/" + name)
                if kernel.modules != nil { return kernel }
            } catch {
                refused = refused ?? error
            }
        }
        throw SandboxError(
            .missingTool,
            "there is no kernel for a guest: none of \(boot)/vmlinuz-* can be read and has its modules in /lib/modules"
                + "\(refused.map { " (\($0.message))" } ?? ""); install one (apt-get install linux-image-cloud-amd64) or "
                + "name one: --kernel FILE, or SNAPWF_KERNEL=FILE")
    }

    /// The release that a bzImage tells in its header (Documentation/arch/x86/boot.rst of the kernel, `kernel_version`).
    static func release(of path: String) throws(SandboxError) -> String {
        let file = try Descriptor.open(path, O_RDONLY)
        // Setup code is at most 64 sectors and the boot sector.
        var bytes = [UInt8](repeating: 0, count: 65 * 512)
        let raw = file.raw
        let count = retrying { pread(raw, &bytes, bytes.count, 0) }
        guard count >= 0 else { throw .system(errno, "read \(path)") }
        guard let release = release(inHeader: bytes.prefix(count)) else {
            throw SandboxError(
                .incompatible,
                "\(path) is no Linux kernel for x86-64 that tells its version (a bzImage); name another: --kernel FILE")
        }
        return release
    }

    static func release(inHeader bytes: ArraySlice<UInt8>) -> String? {
        func word(_ offset: Int) -> Int { Int(bytes[offset]) | Int(bytes[offset + 1]) << 8 }
        guard bytes.startIndex == 0, bytes.count > 0x268, bytes[0x202..<0x206].elementsEqual("HdrS".utf8),
            word(0x206) >= 0x200, word(0x20E) > 0
        else { return nil }
        let start = word(0x20E) + 0x200
        guard start < bytes.count else { return nil }
        // "6.1.0-56-cloud-amd64 (builder@host) #1 SMP …"
        let text = bytes[start...].prefix { $0 > 0x20 && $0 < 0x7F }
        // It becomes part of a path.
        guard !text.isEmpty, text.count < 128, !text.contains(UInt8(ascii: "/")), text.first != UInt8(ascii: ".") else {
            return nil
        }
        return String(decoding: text, as: UTF8.self)
    }

    /// Compares names by their numbers, so that 6.1.0-9 is older than 6.1.0-56.
    static func isOlder(_ left: String, _ right: String) -> Bool {
        let (left, right) = (parts(left), parts(right))
        for (one, other) in zip(left, right) where one != other {
            if let number = Int(one), let second = Int(other) { return number < second }
            return one < other
        }
        return left.count < right.count
    }

    private static func parts(_ name: String) -> [String] {
        var parts: [String] = []
        var wasDigit = false
        for character in name {
            let isDigit = character.isASCII && character.isNumber
            if isDigit == wasDigit, let last = parts.last {
                parts[parts.count - 1] = last + String(character)
            } else {
                parts.append(String(character))
            }
            wasDigit = isDigit
        }
        return parts
    }
}
