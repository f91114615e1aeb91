/// A small record on disk: a title line, `key value` lines, and a last line that tells a whole record from a part.
///
/// Keys and values are percent-encoded, so any text fits in one line.
struct Record: Sendable {
    private static let lastLine = "end"

    let title: String
    private(set) var fields: [(key: String, value: String)] = []

    init(title: String) {
        self.title = title
    }

    mutating func add(_ key: String, _ value: some CustomStringConvertible) {
        fields.append((key, value.description))
    }

    subscript(key: String) -> String? {
        fields.first { $0.key == key }?.value
    }

    func number<Number: FixedWidthInteger>(_ key: String, as type: Number.Type = Number.self) -> Number? {
        self[key].flatMap { Number($0) }
    }

    /// The values of every key that starts with a prefix, under the rest of the key.
    func group(_ prefix: String) -> [String: String] {
        var group: [String: String] = [:]
        for field in fields where field.key.hasPrefix(prefix) {
            group[String(field.key.dropFirst(prefix.count))] = field.value
        }
        return group
    }

    var bytes: [UInt8] {
        var text = title + "\n"
        for (key, value) in fields {
            text += "\(Self.encode(key)) \(Self.encode(value))\n"
        }
        return Array((text + Self.lastLine + "\n").utf8)
    }

    /// - Returns: `nil` when it has another title or is not whole.
    init?(_ bytes: [UInt8], title: String) {
        let lines = bytes.split(separator: UInt8(ascii: "\n"))
        guard lines.count >= 2, lines[0].elementsEqual(title.utf8),
            lines[lines.count - 1].elementsEqual(Self.lastLine.utf8), bytes.last == UInt8(ascii: "\n")
        else { return nil }
        self.title = title
        for line in lines[1..<(lines.count - 1)] {
            guard let space = line.firstIndex(of: UInt8(ascii: " ")), let key = Self.decode(line[..<space]),
                let value = Self.decode(line[(space + 1)...])
            else { return nil }
            fields.append((key, value))
        }
    }

    private static func encode(_ text: String) -> String {
        let digits = Array("0123456789abcdef".utf8)
        var result: [UInt8] = []
        for byte in text.utf8 {
            if byte > 0x20 && byte != 0x7F && byte != UInt8(ascii: "%") {
                result.append(byte)
            } else {
                result += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    private static func decode(_ line: ArraySlice<UInt8>) -> String? {
        var result: [UInt8] = []
        var rest = line
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                result.append(byte)
                continue
            }
            guard let high = rest.popFirst(), let low = rest.popFirst(),
                let value = UInt8(String(decoding: [high, low], as: UTF8.self), radix: 16)
            else { return nil }
            result.append(value)
        }
        return String(decoding: result, as: UTF8.self)
    }
}
