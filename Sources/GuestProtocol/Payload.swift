/// Reads a payload's fields in their order. Never beyond its end, whatever the bytes are.
struct PayloadReader {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) {
        rest = bytes
    }

    private mutating func take(_ count: Int) throws(ProtocolError) -> ArraySlice<UInt8> {
        guard count <= rest.count else { throw ProtocolError(.malformed, "a message ends before its last field") }
        defer { rest = rest.dropFirst(count) }
        return rest.prefix(count)
    }

    mutating func number<Number: FixedWidthInteger>(_ type: Number.Type = Number.self) throws(ProtocolError) -> Number {
        var number: Number = 0
        for (index, byte) in try take(Number.bitWidth / 8).enumerated() {
            number |= Number(truncatingIfNeeded: byte) << Number(index * 8)
        }
        return number
    }

    mutating func flag() throws(ProtocolError) -> Bool {
        let byte = try number(UInt8.self)
        guard byte <= 1 else { throw ProtocolError(.malformed, "a flag of a message is \(byte)") }
        return byte == 1
    }

    /// Text without NUL: it becomes a C string.
    mutating func text() throws(ProtocolError) -> String {
        let bytes = try take(Int(try number(UInt32.self)))
        guard !bytes.contains(0), let text = String(validating: bytes, as: UTF8.self) else {
            throw ProtocolError(.malformed, "a text of a message is not UTF-8 or has a NUL in it")
        }
        return text
    }

    mutating func texts() throws(ProtocolError) -> [String] {
        let count = try number(UInt32.self)
        var texts: [String] = []
        // Nothing is reserved: each text needs four bytes at least, so the payload's length is the bound.
        for _ in 0..<count { texts.append(try text()) }
        return texts
    }

    mutating func optional<Value>(
        _ read: (inout PayloadReader) throws(ProtocolError) -> Value
    ) throws(ProtocolError) -> Value? {
        try flag() ? try read(&self) : nil
    }

    /// All that is left.
    mutating func bytes() -> [UInt8] {
        defer { rest = [] }
        return Array(rest)
    }

    func end() throws(ProtocolError) {
        guard rest.isEmpty else { throw ProtocolError(.malformed, "\(rest.count) bytes follow a message's last field") }
    }
}

/// Writes what ``PayloadReader`` reads.
struct PayloadWriter {
    private(set) var bytes: [UInt8] = []

    mutating func number(_ number: some FixedWidthInteger) {
        bytes.append(littleEndian: number)
    }

    mutating func flag(_ flag: Bool) {
        bytes.append(flag ? 1 : 0)
    }

    mutating func text(_ text: String) {
        let utf8 = text.utf8
        number(UInt32(clamping: utf8.count))
        bytes += utf8
    }

    mutating func texts(_ texts: [String]) {
        number(UInt32(clamping: texts.count))
        for text in texts { self.text(text) }
    }

    mutating func optional<Value>(_ value: Value?, _ write: (inout PayloadWriter, Value) -> Void) {
        flag(value != nil)
        if let value { write(&self, value) }
    }

    mutating func raw(_ more: some Sequence<UInt8>) {
        bytes += more
    }
}
