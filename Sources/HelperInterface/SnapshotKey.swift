import Crypto

/// The name of a snapshot's content: same key, same bytes.
///
/// A key is the SHA-256 of everything that decides the bytes of the ext4 image: the manifest (and with it every layer),
/// the platform chosen from an index, the size asked for, the file system options, and the version of the converter's
/// output. Everything in the image that would be random elsewhere (its UUID, the seed of its directory hashes) is
/// derived from the key.
package struct SnapshotKey: Hashable, Sendable, CustomStringConvertible {
    /// Raised whenever the converter writes other bytes for the same input.
    package static let formatVersion = 2

    /// 64 lower-case hexadecimal digits.
    package let hex: String
    private let bytes: [UInt8]

    /// - Parameters:
    ///   - manifestDigest: the digest of the image's manifest, as `sha256:<hex>`.
    ///   - platform: as `os/architecture[/variant]`.
    ///   - size: the size asked for in bytes, or nil for as small as the content allows.
    ///   - verity: whether a dm-verity hash tree is appended.
    ///   - sourceDateEpoch: the file system's date in seconds since 1970 where it was asked for; nil for the image's.
    package init(
        manifestDigest: String, platform: String, size: UInt64?, verity: Bool = false, sourceDateEpoch: Int64? = nil
    ) {
        var identity = [
            "snapwf rootfs ext4 v\(Self.formatVersion)", manifestDigest, platform, size.map { "\($0)" } ?? "minimal",
        ]
        // What is not asked for leaves no trace, so that the keys of plain images stay as they are.
        if verity { identity.append("verity") }
        if let sourceDateEpoch { identity.append("date \(sourceDateEpoch)") }
        bytes = Array(SHA256.hash(data: Array(identity.joined(separator: "\n").utf8)))
        hex = hexadecimal(bytes)
    }

    package var description: String { hex }

    /// The id of the snapshot with this key: short enough to type, long enough never to meet another (64 bits).
    package var snapshotID: String { "snap-" + hex.prefix(16) }

    /// The file system's UUID: version 8 of RFC 9562, which leaves the content to us.
    package var uuid: [UInt8] { Self.stampUUID(derive("uuid")) }

    /// The seed of the half-MD4 directory hash, in the form of a UUID as mke2fs does it.
    package var hashSeed: [UInt8] { Self.stampUUID(derive("hash seed")) }

    /// What is hashed in front of each block of a dm-verity tree, 32 bytes.
    package var veritySalt: [UInt8] { digest("verity salt") }

    /// The UUID of a dm-verity tree.
    package var verityUUID: [UInt8] { Self.stampUUID(derive("verity uuid")) }

    private func derive(_ purpose: String) -> [UInt8] {
        Array(digest(purpose).prefix(16))
    }

    private func digest(_ purpose: String) -> [UInt8] {
        Array(SHA256.hash(data: bytes + Array(purpose.utf8)))
    }

    private static func stampUUID(_ bytes: [UInt8]) -> [UInt8] {
        var stamped = bytes
        stamped[6] = stamped[6] & 0x0F | 0x80
        stamped[8] = stamped[8] & 0x3F | 0x80
        return stamped
    }
}

/// Lower-case hexadecimal digits of `bytes`.
package func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    for byte in bytes {
        text.append(digits[Int(byte >> 4)])
        text.append(digits[Int(byte & 0x0F)])
    }
    return String(decoding: text, as: UTF8.self)
}

/// The usual text form of a UUID of 16 bytes.
package func uuidText(_ bytes: [UInt8]) -> String {
    let hex = Array(hexadecimal(bytes))
    let groups = [0..<8, 8..<12, 12..<16, 16..<20, 20..<32]
    return groups.map { String(hex[$0]) }.joined(separator: "-")
}
