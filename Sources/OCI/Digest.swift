internal import Crypto

/// A content address: `sha256:<64 hex digits>` or `sha512:<128 hex digits>`.
///
/// Grammar: OCI image specification, "Descriptor", section "Digests". Registered algorithms only, hex in lower case.
package struct Digest: Hashable, Sendable, CustomStringConvertible {
    package enum Algorithm: String, Sendable, Hashable, CaseIterable {
        case sha256
        case sha512

        /// The length of the digest in hex digits.
        package var hexLength: Int {
            switch self {
            case .sha256: 64
            case .sha512: 128
            }
        }
    }

    package let algorithm: Algorithm
    /// Lower case hex digits, exactly `algorithm.hexLength` of them: safe as a file name.
    package let hex: String

    /// Parses `algorithm:hex`; anything else throws `invalidReference`.
    package init(parsing text: String) throws(OCIError) {
        guard let colon = text.firstIndex(of: ":") else {
            throw OCIError(.invalidReference, "\(excerpt(text)) is no digest: write sha256:<64 hex digits>")
        }
        guard let algorithm = Algorithm(rawValue: String(text[..<colon])) else {
            throw OCIError(
                .invalidReference,
                "\(excerpt(text)) uses an unknown digest algorithm: sha256 and sha512 are supported")
        }
        let hex = text[text.index(after: colon)...]
        guard hex.utf8.count == algorithm.hexLength, hex.utf8.allSatisfy(isLowerHex) else {
            throw OCIError(
                .invalidReference,
                "\(excerpt(text)) is no digest: after \(algorithm.rawValue): come \(algorithm.hexLength) lower case hex digits"
            )
        }
        self.algorithm = algorithm
        self.hex = String(hex)
    }

    fileprivate init(algorithm: Algorithm, bytes: some Sequence<UInt8>) {
        self.algorithm = algorithm
        self.hex = hexadecimal(bytes)
    }

    package var description: String { "\(algorithm.rawValue):\(hex)" }

    /// The first 12 hex digits, for messages and logs; it names nothing for certain.
    package var short: String { "\(algorithm.rawValue):\(hex.prefix(12))" }

    /// The SHA-256 digest of `bytes`.
    package static func sha256(of bytes: some Sequence<UInt8>) -> Digest {
        of(bytes, algorithm: .sha256)
    }

    /// The digest of `bytes` by `algorithm`.
    package static func of(_ bytes: some Sequence<UInt8>, algorithm: Algorithm) -> Digest {
        var hasher = DigestHasher(algorithm: algorithm)
        let direct: Void? = bytes.withContiguousStorageIfAvailable { hasher.update(UnsafeRawBufferPointer($0)) }
        if direct == nil {
            Array(bytes).withUnsafeBytes { hasher.update($0) }
        }
        return hasher.finalize()
    }
}

extension Digest: Codable {
    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        do {
            try self.init(parsing: text)
        } catch {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: error.message)
        }
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// A digest in the making, for bytes that come in pieces.
package struct DigestHasher: Sendable {
    // Exactly one is there. Two optionals and no enumeration: their state is hashed in place, without a copy.
    private var sha256: SHA256?
    private var sha512: SHA512?

    package init(algorithm: Digest.Algorithm) {
        switch algorithm {
        case .sha256: sha256 = SHA256()
        case .sha512: sha512 = SHA512()
        }
    }

    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        sha256?.update(bufferPointer: bytes)
        sha512?.update(bufferPointer: bytes)
    }

    /// The digest of everything seen so far; the hasher can go on afterwards.
    package func finalize() -> Digest {
        if let sha512 { return Digest(algorithm: .sha512, bytes: sha512.finalize()) }
        return Digest(algorithm: .sha256, bytes: (sha256 ?? SHA256()).finalize())
    }
}

private func isLowerHex(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte)
}

private func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    let digits: [UInt8] = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    for byte in bytes {
        text.append(digits[Int(byte >> 4)])
        text.append(digits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
}

extension Digest {
    /// The digest itself: 32 bytes for SHA-256, 64 for SHA-512.
    package var bytes: [UInt8] {
        var bytes: [UInt8] = []
        var high: UInt8?
        for digit in hex.utf8 {
            // The initialisers let nothing but lower-case hexadecimal digits pass.
            let value = digit <= UInt8(ascii: "9") ? digit - UInt8(ascii: "0") : digit - UInt8(ascii: "a") + 10
            if let first = high {
                bytes.append(first << 4 | value)
                high = nil
            } else {
                high = value
            }
        }
        return bytes
    }
}
