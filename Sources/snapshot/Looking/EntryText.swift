import EXT4
import Glibc
import HelperInterface

/// An inode as `ls -l` writes it: its columns, without the name.
struct EntryColumns {
    let mode: String
    let links: String
    let uid: String
    let gid: String
    /// In bytes; a device's two numbers.
    let size: String
    let time: String

    init(_ inode: Inode) {
        mode = modeText(inode)
        links = "\(inode.links)"
        uid = "\(inode.uid)"
        gid = "\(inode.gid)"
        size = inode.device.map { "\($0.major), \($0.minor)" } ?? "\(inode.size)"
        time = timeText(inode.modified)
    }

    /// The columns of several entries under each other.
    static func width(_ column: KeyPath<EntryColumns, String>, of all: [EntryColumns]) -> Int {
        all.reduce(0) { max($0, $1[keyPath: column].utf8.count) }
    }
}

extension String {
    /// Filled up with spaces in front.
    func right(_ width: Int) -> String {
        String(repeating: " ", count: max(width - utf8.count, 0)) + self
    }
}

/// Type and permissions, as in `drwxr-xr-x`.
func modeText(_ inode: Inode) -> String {
    let mode = inode.mode
    var text = inode.type?.letter ?? "?"
    for (shift, special, letter) in [(6, 0o4000, "s"), (3, 0o2000, "s"), (0, 0o1000, "t")] as [(UInt16, UInt16, String)]
    {
        let bits = mode >> shift
        text += bits & 4 != 0 ? "r" : "-"
        text += bits & 2 != 0 ? "w" : "-"
        switch (mode & special != 0, bits & 1 != 0) {
        case (true, true): text += letter
        case (true, false): text += letter.uppercased()
        case (false, let executable): text += executable ? "x" : "-"
        }
    }
    return text
}

extension FileType {
    fileprivate var letter: String {
        switch self {
        case .file: "-"
        case .directory: "d"
        case .characterDevice: "c"
        case .blockDevice: "b"
        case .fifo: "p"
        case .socket: "s"
        case .symlink: "l"
        }
    }

    /// As `find -printf %y` would spell it out.
    var word: String {
        switch self {
        case .file: "file"
        case .directory: "directory"
        case .characterDevice: "character-device"
        case .blockDevice: "block-device"
        case .fifo: "fifo"
        case .socket: "socket"
        case .symlink: "symlink"
        }
    }
}

/// `2023-11-14 22:13:20.123456789` in UTC.
func timeText(_ time: Timestamp, separator: String = " ", zone: String = "") -> String {
    var seconds = time_t(time.seconds)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    func padded(_ number: Int, _ width: Int) -> String {
        let digits = "\(number)"
        return String(repeating: "0", count: max(width - digits.utf8.count, 0)) + digits
    }
    let date = [padded(Int(parts.tm_year) + 1900, 4), padded(Int(parts.tm_mon) + 1, 2), padded(Int(parts.tm_mday), 2)]
    let clock = [parts.tm_hour, parts.tm_min, parts.tm_sec].map { padded(Int($0), 2) }
    return date.joined(separator: "-") + separator + clock.joined(separator: ":")
        + ".\(padded(Int(time.nanoseconds), 9))" + zone
}

/// The name with what it points to, fit for a terminal.
func nameText(_ name: [UInt8], _ inode: Inode, in reader: ImageReader) throws(EXT4Error) -> String {
    guard inode.isSymlink else { return printableName(name) }
    return "\(printableName(name)) -> \(printableName(try reader.target(of: inode)))"
}

/// An extended attribute as getfattr(1) writes it: the value in quotes where it is text, in hexadecimal elsewhere.
func attributeText(_ attribute: ExtendedAttribute) -> String {
    let name = printableName(attribute.name)
    let isText = !attribute.value.isEmpty && attribute.value.allSatisfy { (0x20..<0x7F).contains($0) && $0 != 0x22 }
    if isText { return "\(name)=\"\(printableName(attribute.value))\"" }
    return "\(name)=0x\(hexadecimal(attribute.value))"
}
