import Files
import FoundationEssentials
import Glibc
import HelperInterface

/// The result document that snapshot pull left beside an image: `FILE.json`, or `snapshot.json` in a directory of
/// snapwf's store.
struct Sidecar {
    let path: String
    let result: PullResult

    /// A config may have 8 MiB (OCI); quoted in JSON it grows.
    static let largest = 20 << 20

    /// Nil where no document beside the image is about a file system of this UUID.
    init?(beside image: String, uuid: String) {
        for path in [image + ".json", parentDirectory(of: image) + "/snapshot.json"] {
            guard let bytes = Self.read(path),
                let result = try? JSONDecoder().decode(PullResult.self, from: Data(bytes)), result.uuid == uuid
            else { continue }
            self.path = path
            self.result = result
            return
        }
        return nil
    }

    /// Nil for what is not there, no regular file or too large: then it is no document.
    private static func read(_ path: String) -> [UInt8]? {
        guard let file = try? OpenFile(path, O_RDONLY | O_NONBLOCK), let status = try? file.status(),
            status.st_mode & S_IFMT == S_IFREG, status.st_size <= largest
        else { return nil }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Int(status.st_size), alignment: 16)
        defer { buffer.deallocate() }
        guard let count = try? file.read(into: buffer, at: 0) else { return nil }
        return Array(buffer[..<count])
    }
}
