import Files
import FoundationEssentials
import Glibc
import HelperInterface
import Workflow

/// What `snapwf --version` says: this program, and what it is made of that may have bugs of its own.
enum VersionText {
    static func text(_ variables: [String: String]) -> String {
        let helper = (try? Places.executable()).map { Places.helper(variables, executable: $0) }
        return """
            snapwf \(Version.text)
            Swift runtime \(_SwiftStdlibVersion.current)
            SQLite \(SQLiteLibrary.version)
            ISA-L \(isal(beside: helper) ?? "none: zlib inflates")

            """
    }

    /// The library that the helper would inflate with: beside it, else the system's. Its file name says its version.
    private static func isal(beside helper: String?) -> String? {
        let beside = helper.map { String($0[..<($0.lastIndex(of: "/") ?? $0.startIndex)]) + "/libisal.so.2" }
        let path =
            beside.flatMap { access($0, R_OK) == 0 ? $0 : nil } ?? systemLibrary("libisal.so.2")
        guard let path, let real = realpath(path, nil) else { return nil }
        defer { free(real) }
        let file = String(cString: real)
        let name = file[(file.lastIndex(of: "/").map { file.index(after: $0) } ?? file.startIndex)...]
        return "\(name.dropFirst("libisal.so.".count)) (\(path))"
    }

    /// Where the dynamic linker finds a library (the kernel's list of what is mapped says it).
    private static func systemLibrary(_ name: String) -> String? {
        guard dlopen(name, RTLD_LAZY) != nil, let maps = try? readFile("/proc/self/maps", limit: 1 << 20) else {
            return nil
        }
        let paths = String(decoding: maps, as: UTF8.self).split(separator: "\n").compactMap { line in
            line.firstIndex(of: "/").map { String(line[$0...]) }
        }
        return paths.first { $0.contains("/" + name) }
    }
}
