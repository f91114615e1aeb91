import Files
import Glibc
import HelperInterface

/// The directory that everything is kept in.
enum StateChecks {
    private static let name = "state directory"

    static func run(_ home: String) -> [Finding] {
        var info = stat()
        guard stat(home, &info) == 0 else {
            let reason = String(cString: strerror(errno))
            guard errno == ENOENT else { return [unusable(home, reason)] }
            return absent(home)
        }
        guard info.st_mode & S_IFMT == S_IFDIR else { return [unusable(home, "it is no directory")] }
        guard access(home, R_OK | W_OK | X_OK) == 0 else { return [unusable(home, String(cString: strerror(errno)))] }
        let mode =
            info.st_mode & 0o077 == 0
            ? Finding.ok(name, home)
            : .warn(name, "\(home) can be entered by others than its owner", next: "chmod 700 \(home)")
        return [mode] + freeSpace(in: home)
    }

    /// The first run makes it, if it may.
    private static func absent(_ home: String) -> [Finding] {
        var parent = parentDirectory(of: home)
        while !fileExists(parent), parent != "/", parent != "." { parent = parentDirectory(of: parent) }
        guard access(parent, W_OK | X_OK) == 0 else {
            return [unusable(home, "it is not there, and \(parent): \(String(cString: strerror(errno)))")]
        }
        return [.ok(name, "\(home) is not there yet; the first run makes it")] + freeSpace(in: parent)
    }

    private static func unusable(_ home: String, _ why: String) -> Finding {
        .fail(
            name, "\(home) cannot be used: \(why)",
            next: "make it writable, or name another one: SNAPWF_HOME=/path snapwf …")
    }

    private static func freeSpace(in directory: String) -> [Finding] {
        var info = statvfs()
        guard statvfs(directory, &info) == 0 else {
            let reason = String(cString: strerror(errno))
            return [.warn("free space", "not known: \(reason)", next: "df \(directory)")]
        }
        let (bytes, overflow) = UInt64(info.f_bavail).multipliedReportingOverflow(by: UInt64(info.f_frsize))
        return [freeSpace(overflow ? .max : bytes, in: directory)]
    }

    /// A pull needs the image's own size; what is less than this is too little for any.
    static func freeSpace(_ bytes: UInt64, in directory: String) -> Finding {
        let text = "\(byteCountText(bytes)) free below \(directory)"
        if bytes < 64 << 20 {
            return .fail("free space", text, next: "free some, or use another disk: SNAPWF_HOME=/path")
        }
        if bytes < 2 << 30 { return .warn("free space", text, next: "free some; large images need more") }
        return .ok("free space", text)
    }
}
