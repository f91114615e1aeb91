/// Parses a number of bytes as people write it: `10GiB`, `512M`, `1.5GB`, `4096`.
///
/// `K M G T`, alone or followed by `iB`, are powers of 1024, as in mkfs and qemu-img; followed by `B` they are powers
/// of 1000. The result is nil for anything else, for zero, and past 2^62.
package func parseByteCount(_ text: String) -> UInt64? {
    let digits = text.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
    let unit = text.dropFirst(digits.count).lowercased()
    let factor: Double
    switch unit {
    case "", "b": factor = 1
    case "k", "ki", "kib": factor = 1024
    case "m", "mi", "mib": factor = 1_048_576
    case "g", "gi", "gib": factor = 1_073_741_824
    case "t", "ti", "tib": factor = 1_099_511_627_776
    case "kb": factor = 1e3
    case "mb": factor = 1e6
    case "gb": factor = 1e9
    case "tb": factor = 1e12
    default: return nil
    }
    guard let number = Double(digits), number > 0 else { return nil }
    let bytes = (number * factor).rounded()
    guard bytes >= 1, bytes <= 0x1p62 else { return nil }
    return UInt64(bytes)
}

/// A number of bytes for a person: `734 B`, `2.7 MiB`, `10 GiB`.
package func byteCountText(_ bytes: UInt64) -> String {
    guard bytes >= 1024 else { return "\(bytes) B" }
    var value = Double(bytes)
    var unit = 0
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    while value >= 1023.95, unit < units.count - 1 {
        value /= 1024
        unit += 1
    }
    let tenths = Int((value * 10).rounded())
    return tenths % 10 == 0 || tenths >= 1000
        ? "\((tenths + 5) / 10) \(units[unit])" : "\(tenths / 10).\(tenths % 10) \(units[unit])"
}
