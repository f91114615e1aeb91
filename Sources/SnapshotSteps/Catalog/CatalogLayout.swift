import Files
import Glibc

/// The names in the store: `<id>/rootfs.ext4`, beside it the document and the file of those who use it; and
/// `.incoming-<run>` or `.incoming-pull-<name>` for what is on its way, `.removed-<name>-<number>` for what goes.
struct CatalogLayout: Sendable {
    static let imageName = "rootfs.ext4"
    static let incomingPrefix = ".incoming-"
    /// No run's id begins like this.
    static let pullPrefix = incomingPrefix + "pull-"
    static let removedPrefix = ".removed-"

    /// The directory of all snapshots.
    let root: String

    func directory(of id: String) -> String { root + "/" + id }
    func image(of id: String) -> String { directory(of: id) + "/" + Self.imageName }
    /// Locked by everybody who works with the snapshot's file, see ``SnapshotUse``.
    func usage(of id: String) -> String { directory(of: id) + "/in-use" }
    func incoming(ofRun runID: String) -> String { root + "/" + Self.incomingPrefix + runID }
    func incoming(ofPull name: String) -> String { root + "/" + Self.pullPrefix + name }

    /// Removes a directory of the store that others may be about to use: it loses its name first, so whoever comes meanwhile
    /// finds nothing of it, and nothing of theirs goes with it. Blocks; what a crash leaves is garbage. Nothing there is
    /// success.
    func removeFromSight(_ directory: String) throws(FileError) {
        let name = directory.split(separator: "/").last.map(String.init) ?? ""
        let removed = "\(root)/\(Self.removedPrefix)\(name)-\(UInt64.random(in: 0 ... .max))"
        do throws(FileError) {
            try renameDurably(directory, to: removed)
        } catch {
            if error.errno == ENOENT { return }
            throw error
        }
        try removeTree(removed)
    }

    /// What a directory of the store may be called after: 16 to 64 lower-case hexadecimal digits.
    static func isKey(_ text: String) -> Bool {
        (16...64).contains(text.utf8.count) && text.utf8.allSatisfy(isHexDigit)
    }

    static func isHexDigit(_ byte: UInt8) -> Bool {
        (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains(byte)
    }
}

/// Whether a regular file has this name itself; nothing is followed.
func isRegularFile(_ path: String) -> Bool {
    var status = stat()
    return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
}
