import EXT4
import FoundationEssentials
import HelperInterface

/// An entry of an image for a program.
struct EntryDocument: Encodable {
    struct Device: Encodable {
        let major: UInt32
        let minor: UInt32
    }

    /// From the root on. Where it is no UTF-8, a text that resembles it, and the bytes in `pathBase64`.
    let path: String
    let pathBase64: String?
    let type: String
    /// Octal digits of the permissions, as in `0755`.
    let mode: String
    let uid: UInt32
    let gid: UInt32
    let size: UInt64
    /// RFC 3339, UTC, with nanoseconds.
    let mtime: String
    let inode: UInt32
    let links: UInt16
    let target: String?
    let targetBase64: String?
    let device: Device?
    /// Values in Base64, by name.
    let xattrs: [String: String]?

    init(path: [UInt8], _ inode: Inode, in reader: ImageReader, withAttributes: Bool) throws(EXT4Error) {
        self.path = String(decoding: path, as: UTF8.self)
        pathBase64 = base64WhereNeeded(path)
        type = inode.type?.word ?? "unknown"
        let digits = String(inode.mode & 0o7777, radix: 8)
        mode = String(repeating: "0", count: 4 - digits.utf8.count) + digits
        uid = inode.uid
        gid = inode.gid
        size = inode.size
        mtime = timeText(inode.modified, separator: "T", zone: "Z")
        self.inode = inode.number.rawValue
        links = inode.links
        let target = inode.isSymlink ? try reader.target(of: inode) : nil
        self.target = target.map { String(decoding: $0, as: UTF8.self) }
        targetBase64 = target.flatMap(base64WhereNeeded)
        device = inode.device.map { Device(major: $0.major, minor: $0.minor) }
        guard withAttributes else {
            xattrs = nil
            return
        }
        var values: [String: String] = [:]
        for attribute in try reader.extendedAttributes(of: inode) {
            values[printableName(attribute.name)] = Data(attribute.value).base64EncodedString()
        }
        xattrs = values
    }
}

/// The bytes in Base64, where text would not give them back.
func base64WhereNeeded(_ bytes: [UInt8]) -> String? {
    Array(String(decoding: bytes, as: UTF8.self).utf8) == bytes ? nil : Data(bytes).base64EncodedString()
}

/// One JSON document, on one line or for people.
func jsonText(_ value: some Encodable, isPretty: Bool = false) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    if isPretty { encoder.outputFormatting.insert(.prettyPrinted) }
    return String(decoding: try encoder.encode(value), as: UTF8.self)
}
