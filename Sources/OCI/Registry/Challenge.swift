/// One challenge of a `WWW-Authenticate` header (RFC 9110, 11.6.1): a scheme and its parameters.
struct Challenge: Hashable, Sendable {
    /// Lower case.
    let scheme: String
    /// Names are lower case.
    let parameters: [String: String]

    /// All challenges of all the headers' values, in order. What cannot be read is left out.
    static func parse(_ headers: [String]) -> [Challenge] {
        headers.prefix(16).flatMap { header in
            var scanner = Scanner(Array(header.utf8.prefix(16 << 10)))
            return scanner.challenges()
        }
    }

    /// Commas separate challenges as well as parameters: a token followed by `=` is a parameter, any other begins a
    /// challenge.
    private struct Scanner {
        let bytes: [UInt8]
        var at = 0

        init(_ bytes: [UInt8]) { self.bytes = bytes }

        mutating func challenges() -> [Challenge] {
            var found: [Challenge] = []
            var scheme: String?
            var parameters: [String: String] = [:]
            func finished() -> [Challenge] {
                scheme.map { [Challenge(scheme: $0, parameters: parameters)] } ?? []
            }
            while true {
                skipBlanksAndCommas()
                guard let word = token() else { break }
                skipBlanks()
                if scheme != nil, peek == UInt8(ascii: "="), let value = parameterValue() {
                    // The first of a doubled parameter counts, as for the registries' own clients.
                    if parameters[word] == nil { parameters[word] = value }
                } else {
                    found += finished()
                    scheme = word
                    parameters = [:]
                    skipCredentialsToken()
                }
            }
            return found + finished()
        }

        private var peek: UInt8? { at < bytes.count ? bytes[at] : nil }

        private mutating func skipBlanks() {
            while let byte = peek, byte == 0x20 || byte == 0x09 { at += 1 }
        }

        private mutating func skipBlanksAndCommas() {
            while let byte = peek, byte == 0x20 || byte == 0x09 || byte == 0x2c { at += 1 }
        }

        private mutating func token() -> String? {
            let start = at
            while let byte = peek, Self.isTokenByte(byte) { at += 1 }
            return start < at ? String(decoding: bytes[start..<at], as: UTF8.self).lowercased() : nil
        }

        /// `= token` or `= "quoted string"`; stays where it is and gives nil when there is neither.
        private mutating func parameterValue() -> String? {
            let start = at
            at += 1
            skipBlanks()
            if peek == UInt8(ascii: "\"") { return quotedString() }
            let from = at
            while let byte = peek, byte > 0x20, byte != 0x2c, byte != 0x22 { at += 1 }
            guard from < at else {
                at = start
                return nil
            }
            return String(decoding: bytes[from..<at], as: UTF8.self)
        }

        private mutating func quotedString() -> String {
            at += 1
            var value: [UInt8] = []
            while let byte = peek, byte != UInt8(ascii: "\"") {
                at += 1
                if byte == UInt8(ascii: "\\"), let escaped = peek {
                    value.append(escaped)
                    at += 1
                } else {
                    value.append(byte)
                }
            }
            at += 1
            return String(decoding: value, as: UTF8.self)
        }

        /// Skips the single base64 value that schemes such as Negotiate carry instead of parameters.
        private mutating func skipCredentialsToken() {
            let start = at
            while let byte = peek, Self.isTokenByte(byte) || byte == 0x2f { at += 1 }
            let word = at
            while peek == UInt8(ascii: "=") { at += 1 }
            skipBlanks()
            let isWhole = peek == nil || peek == 0x2c
            if word == start || !isWhole { at = start }
        }

        private static func isTokenByte(_ byte: UInt8) -> Bool {
            switch byte {
            case 0x30...0x39, 0x41...0x5a, 0x61...0x7a: true
            default: "!#$%&'*+-.^_`|~".utf8.contains(byte)
            }
        }
    }
}
