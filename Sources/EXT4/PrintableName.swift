/// A name as a terminal may be shown it, and as one line: UTF-8 as it is, all else (control and format characters, bytes
/// that are no UTF-8) and the backslash as `\ooo`, three octal digits a byte, as `ls -b` does it.
package func printableName(_ bytes: some Collection<UInt8>) -> String {
    var text = ""
    var rest = bytes[...]
    while !rest.isEmpty {
        var decoder = UTF8()
        var iterator = rest.makeIterator()
        if case .scalarValue(let scalar) = decoder.decode(&iterator) {
            let count = UTF8.width(scalar)
            if scalar == "\\" {
                text += "\\\\"
            } else if scalar.isPrintable {
                text.unicodeScalars.append(scalar)
            } else {
                for byte in rest.prefix(count) { text += octal(byte) }
            }
            rest = rest.dropFirst(count)
        } else if let byte = rest.popFirst() {
            text += octal(byte)
        }
    }
    return text
}

private func octal(_ byte: UInt8) -> String {
    let digits = String(byte, radix: 8)
    return "\\" + String(repeating: "0", count: 3 - digits.count) + digits
}

extension Unicode.Scalar {
    fileprivate var isPrintable: Bool {
        if isASCII { return value >= 0x20 && value < 0x7F }
        switch properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .surrogate, .unassigned: return false
        default: return true
        }
    }
}
