internal import Glibc

/// Seconds since 1970-01-01T00:00:00Z of a date in the Gregorian calendar; nil when it does not exist.
///
/// Days are counted in eras of 400 years that begin in March, so that the leap day is the last of its year.
private func secondsSinceEpoch(year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int) -> Int64? {
    guard (1...9999).contains(year), (1...12).contains(month), (1...31).contains(day), (0...23).contains(hour),
        (0...59).contains(minute), (0...60).contains(second)
    else { return nil }
    let shifted = month > 2 ? year : year - 1
    let era = shifted / 400
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    let days = era * 146_097 + dayOfEra - 719_468
    return Int64(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Parses `2024-05-22T18:18:12.052034407Z` (RFC 3339); fractions of a second are dropped, nil when it is something
/// else.
func secondsSinceEpoch(rfc3339 text: String) -> Int64? {
    let bytes = Array(text.utf8)
    guard (20...64).contains(bytes.count), bytes[4] == 0x2d, bytes[7] == 0x2d, bytes[13] == 0x3a, bytes[16] == 0x3a,
        bytes[10] == 0x54 || bytes[10] == 0x74 || bytes[10] == 0x20,
        let year = number(bytes[0..<4]), let month = number(bytes[5..<7]), let day = number(bytes[8..<10]),
        let hour = number(bytes[11..<13]), let minute = number(bytes[14..<16]), let second = number(bytes[17..<19]),
        let local = secondsSinceEpoch(
            year: year, month: month, day: day, hour: hour, minute: minute, second: second)
    else { return nil }
    var zone = bytes[19...]
    if zone.first == 0x2e {
        let digits = zone.dropFirst().prefix { (0x30...0x39).contains($0) }
        guard !digits.isEmpty else { return nil }
        zone = zone.dropFirst(1 + digits.count)
    }
    if zone.count == 1, zone.first == 0x5a || zone.first == 0x7a { return local }
    guard zone.count == 6, let sign = zone.first, sign == 0x2b || sign == 0x2d,
        zone[zone.startIndex + 3] == 0x3a,
        let hours = number(zone[(zone.startIndex + 1)..<(zone.startIndex + 3)]), hours < 24,
        let minutes = number(zone[(zone.startIndex + 4)...]), minutes < 60
    else { return nil }
    let offset = Int64(hours * 3600 + minutes * 60)
    return sign == 0x2b ? local - offset : local + offset
}

/// Parses `Sun, 06 Nov 1994 08:49:37 GMT`, the only form of an HTTP date that is still sent (RFC 9110, 5.6.7).
func secondsSinceEpoch(httpDate text: String) -> Int64? {
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
    let words = text.split(separator: " ")
    guard words.count == 6, words[5] == "GMT", let month = months.firstIndex(of: String(words[2])),
        let day = number(Array(words[1].utf8)[...]), let year = number(Array(words[3].utf8)[...])
    else { return nil }
    let clock = words[4].split(separator: ":").map { number(Array($0.utf8)[...]) }
    guard clock.count == 3, let hour = clock[0], let minute = clock[1], let second = clock[2] else { return nil }
    return secondsSinceEpoch(year: year, month: month + 1, day: day, hour: hour, minute: minute, second: second)
}

private func number(_ digits: ArraySlice<UInt8>) -> Int? {
    guard (1...4).contains(digits.count), digits.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return digits.reduce(0) { $0 * 10 + Int($1 - 0x30) }
}

/// The system's clock, in seconds since 1970-01-01T00:00:00Z.
func currentTime() -> Int64 {
    Int64(time(nil))
}
