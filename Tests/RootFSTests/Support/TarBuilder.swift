/// Writes tar archives, well-formed or just short of it.
struct TarBuilder {
    struct Header {
        var name: [UInt8] = []
        var type: Character = "0"
        var size: UInt64 = 0
        var mode: UInt64 = 0o644
        var uid: UInt64 = 0
        var gid: UInt64 = 0
        var mtime: Int64 = 0
        var link: [UInt8] = []
        var major: UInt64 = 0
        var minor: UInt64 = 0
        var isGNU = false
        /// Laid over the finished header before its sum is taken.
        var patches: [Int: [UInt8]] = [:]
    }

    var bytes: [UInt8] = []

    static func field(_ value: Int64, _ width: Int) -> [UInt8] {
        let octal = String(value, radix: 8)
        if value >= 0, octal.utf8.count < width {
            return Array(String(repeating: "0", count: width - 1 - octal.utf8.count).utf8) + Array(octal.utf8) + [0]
        }
        var field = (0..<width).map { index -> UInt8 in
            let shift = (width - 1 - index) * 8
            return shift < 64 ? UInt8(truncatingIfNeeded: value >> Int64(shift)) : (value < 0 ? 0xFF : 0)
        }
        field[0] |= 0x80
        return field
    }

    /// Appends a header block with a right checksum. Long names and links are cut off.
    mutating func header(_ header: Header) {
        var block = [UInt8](repeating: 0, count: 512)
        func put(_ bytes: some Collection<UInt8>, _ start: Int, _ width: Int) {
            for (index, byte) in bytes.prefix(width).enumerated() { block[start + index] = byte }
        }
        put(header.name, 0, 100)
        put(Self.field(Int64(header.mode), 8), 100, 8)
        put(Self.field(Int64(header.uid), 8), 108, 8)
        put(Self.field(Int64(header.gid), 8), 116, 8)
        put(Self.field(Int64(header.size), 12), 124, 12)
        put(Self.field(header.mtime, 12), 136, 12)
        block[156] = header.type.asciiValue ?? 0
        put(header.link, 157, 100)
        put(header.isGNU ? Array("ustar  \0".utf8) : Array("ustar\u{0}00".utf8), 257, 8)
        put(Self.field(Int64(header.major), 8), 329, 8)
        put(Self.field(Int64(header.minor), 8), 337, 8)
        for (start, patch) in header.patches { put(patch, start, patch.count) }
        put([UInt8](repeating: 0x20, count: 8), 148, 8)
        let sum = block.reduce(0) { $0 + Int64($1) }
        put(Self.field(sum, 7) + [0x20], 148, 8)
        bytes += block
    }

    /// Appends a payload, padded to whole blocks.
    mutating func payload(_ data: some Collection<UInt8>) {
        bytes += data
        pad()
    }

    mutating func pad() {
        bytes += [UInt8](repeating: 0, count: (512 - bytes.count % 512) % 512)
    }

    mutating func pax(_ records: [(String, [UInt8])], type: Character = "x") {
        let body = records.flatMap { Self.record(Array($0.0.utf8), $0.1) }
        header(Header(name: Array("././@PaxHeader".utf8), type: type, size: UInt64(body.count)))
        payload(body)
    }

    mutating func pax(_ records: [(String, String)], type: Character = "x") {
        pax(records.map { ($0.0, Array($0.1.utf8)) }, type: type)
    }

    static func record(_ key: [UInt8], _ value: [UInt8]) -> [UInt8] {
        let body = [0x20] + key + [UInt8(ascii: "=")] + value + [0x0A]
        var length = body.count + 1
        while String(length).utf8.count + body.count != length { length = String(length).utf8.count + body.count }
        return Array(String(length).utf8) + body
    }

    mutating func file(_ name: String, _ data: [UInt8] = [], mode: UInt64 = 0o644) {
        header(Header(name: Array(name.utf8), size: UInt64(data.count), mode: mode))
        payload(data)
    }

    mutating func directory(_ name: String, mode: UInt64 = 0o755) {
        header(Header(name: Array(name.utf8), type: "5", mode: mode))
    }

    mutating func symlink(_ name: String, to target: String) {
        header(Header(name: Array(name.utf8), type: "2", mode: 0o777, link: Array(target.utf8)))
    }

    mutating func hardLink(_ name: String, to target: String) {
        header(Header(name: Array(name.utf8), type: "1", link: Array(target.utf8)))
    }

    /// The archive with its end mark.
    func finished() -> [UInt8] {
        bytes + [UInt8](repeating: 0, count: 1024)
    }

    static func archive(_ build: (inout TarBuilder) -> Void) -> [UInt8] {
        var builder = TarBuilder()
        build(&builder)
        return builder.finished()
    }
}
