public import Foundation

/// The identity of a run: 26 characters of lower-case Crockford base32, 48 bits of time before 80 random bits.
///
/// Ids sort by the millisecond in which they were made, and are safe in URLs, labels and file names.
public struct RunID: Hashable, Sendable, Codable, Comparable, CustomStringConvertible {
    /// The 26 characters.
    public let description: String

    private static let alphabet = Array("0123456789abcdefghjkmnpqrstvwxyz".utf8)

    /// Reads an id; upper case is accepted and lowered.
    ///
    /// - Returns: `nil` unless `string` is 26 characters of Crockford base32 that fit into 128 bits.
    public init?(_ string: String) {
        let lowered = string.lowercased()
        guard lowered.utf8.count == 26, let first = lowered.utf8.first, first <= UInt8(ascii: "7"),
            Self.isPrefix(lowered)
        else { return nil }
        description = lowered
    }

    /// Makes an id from a time and 80 bits of randomness (the upper 48 bits of `high` are ignored).
    public init(time: Date, high: UInt64, low: UInt64) {
        let milliseconds = UInt64(clamping: Timestamp(time).milliseconds) & 0xFFFF_FFFF_FFFF
        let upper = milliseconds << 16 | (high & 0xFFFF)
        var characters: [UInt8] = []
        characters.reserveCapacity(26)
        for index in 0..<26 {
            let shift = 125 - index * 5
            characters.append(Self.alphabet[Int(Self.bits(upper, low, at: shift))])
        }
        description = String(decoding: characters, as: UTF8.self)
    }

    /// Makes an id from a time and the system's random numbers.
    public init(time: Date) {
        self.init(time: time, high: .random(in: .min ... .max), low: .random(in: .min ... .max))
    }

    /// Decodes the 26 characters.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let string = try container.decode(String.self)
        guard let id = RunID(string) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a run id: \(string)")
        }
        self = id
    }

    /// Encodes the 26 characters.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }

    /// Whether `left` was made before `right`.
    public static func < (left: RunID, right: RunID) -> Bool {
        left.description < right.description
    }

    /// Whether `text`, already lower-case, holds only characters that an id may hold.
    static func isPrefix(_ text: String) -> Bool {
        text.utf8.count <= 26 && text.utf8.allSatisfy { alphabet.contains($0) }
    }

    /// Five bits of the 128-bit number `high·low`, starting at bit `shift` from the right.
    private static func bits(_ high: UInt64, _ low: UInt64, at shift: Int) -> UInt64 {
        let value: UInt64
        if shift >= 64 {
            value = high >> UInt64(shift - 64)
        } else if shift == 0 {
            value = low
        } else {
            value = low >> UInt64(shift) | high << UInt64(64 - shift)
        }
        return value & 31
    }
}
