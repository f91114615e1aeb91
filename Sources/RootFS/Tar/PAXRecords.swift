import EXT4

/// One "key=value" of a PAX extended header, both raw bytes.
struct PAXRecord: Equatable {
    var key: [UInt8]
    var value: [UInt8]
}

/// Splits the body of a PAX extended header into its records (POSIX.1-2017 pax, "pax Extended Header").
func parsePAXRecords(_ body: [UInt8]) throws(RootFSError) -> [PAXRecord] {
    let malformed = RootFSError(.archive, "a PAX header is malformed: a record is not \"length key=value\\n\"")
    var records: [PAXRecord] = []
    var rest = body[...]
    while !rest.isEmpty {
        guard let space = rest.prefix(20).firstIndex(of: 0x20),
            let length = decimal(rest[..<space]), length <= UInt64(rest.count)
        else { throw malformed }
        let end = rest.startIndex + Int(length)
        guard end > space + 1, rest[end - 1] == 0x0A else { throw malformed }
        let record = rest[(space + 1)..<(end - 1)]
        guard let equals = record.firstIndex(of: UInt8(ascii: "=")), equals > record.startIndex else { throw malformed }
        records.append(PAXRecord(key: Array(record[..<equals]), value: Array(record[(equals + 1)...])))
        rest = rest[end...]
    }
    return records
}

/// An unsigned decimal number, digits only; nil for anything else, also when it is past 64 bits.
func decimal(_ digits: some Collection<UInt8>) -> UInt64? {
    guard !digits.isEmpty else { return nil }
    var value: UInt64 = 0
    for digit in digits {
        guard (0x30...0x39).contains(digit) else { return nil }
        let (tenfold, overflow) = value.multipliedReportingOverflow(by: 10)
        let (sum, carried) = tenfold.addingReportingOverflow(UInt64(digit - 0x30))
        guard !overflow, !carried else { return nil }
        value = sum
    }
    return value
}

/// A PAX time: decimal seconds with a fraction of any length, maybe negative. Digits past nanoseconds are cut off.
func paxTime(_ text: [UInt8]) -> Timestamp? {
    let negative = text.first == UInt8(ascii: "-")
    let digits = negative ? text.dropFirst() : text[...]
    let parts = digits.split(separator: UInt8(ascii: "."), maxSplits: 1, omittingEmptySubsequences: false)
    // "1.", which some writers leave, is a whole number; ".5" is not in anybody's grammar.
    guard let whole = decimal(parts[0]), let seconds = Int64(exactly: whole) else { return nil }
    let fraction = parts.count > 1 ? parts[1] : []
    guard fraction.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    var nanoseconds: UInt32 = 0
    for position in 0..<9 {
        let digit = fraction.dropFirst(position).first ?? 0x30
        nanoseconds = nanoseconds * 10 + UInt32(digit - 0x30)
    }
    guard negative else { return Timestamp(seconds: seconds, nanoseconds: nanoseconds) }
    guard nanoseconds > 0 else { return Timestamp(seconds: -seconds, nanoseconds: 0) }
    return Timestamp(seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds)
}
