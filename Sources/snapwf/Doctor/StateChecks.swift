import Files
import FoundationEssentials
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
        return [mode] + fileSystem(of: home) + freeSpace(in: home)
    }

    /// The first run makes it, if it may.
    private static func absent(_ home: String) -> [Finding] {
        var parent = parentDirectory(of: home)
        while !fileExists(parent), parent != "/", parent != "." { parent = parentDirectory(of: parent) }
        guard access(parent, W_OK | X_OK) == 0 else {
            return [unusable(home, "it is not there, and \(parent): \(String(cString: strerror(errno)))")]
        }
        return [.ok(name, "\(home) is not there yet; the first run makes it")] + fileSystem(of: parent)
            + freeSpace(in: parent)
    }

    private static func unusable(_ home: String, _ why: String) -> Finding {
        .fail(
            name, "\(home) cannot be used: \(why)",
            next: "make it writable, or name another one: SNAPWF_HOME=/path snapwf …")
    }

    /// Nothing where the mount is not found, as in a subvolume, which has a device number of its own.
    private static func fileSystem(of directory: String) -> [Finding] {
        var info = stat()
        guard stat(directory, &info) == 0,
            let mounts = try? String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8)
        else { return [] }
        let device = UInt64(info.st_dev)
        let major = (device >> 8) & 0xFFF | (device >> 32) & ~0xFFF
        let minor = device & 0xFF | (device >> 12) & 0xFFFF_FF00
        return fileSystemKind(ofDevice: "\(major):\(minor)", in: mounts).map { [fileSystem($0, of: directory)] } ?? []
    }

    /// The kind of a mounted device's file system (proc_pid_mountinfo(5): the third field is the device, the first one
    /// after a lone hyphen the kind).
    static func fileSystemKind(ofDevice device: String, in mounts: String) -> String? {
        for line in mounts.split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count > 6, fields[2] == device, let hyphen = fields.dropFirst(6).firstIndex(of: "-"),
                hyphen + 1 < fields.count
            else { continue }
            return String(fields[hyphen + 1])
        }
        return nil
    }

    /// SQLite's log is shared memory, which file systems over a network do not share (sqlite.org/wal.html).
    static func fileSystem(_ kind: String, of directory: String) -> Finding {
        let remote: Set<String> = ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "afs", "fuse.sshfs", "glusterfs"]
        guard remote.contains(kind) else { return .ok("file system", kind) }
        return .warn(
            "file system", "\(directory) is on \(kind), which does not keep a database's locks and memory well",
            next: "SNAPWF_HOME=/path/on/a/local/disk snapwf doctor")
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
