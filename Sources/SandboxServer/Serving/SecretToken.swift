package import Connect

/// The token that callers have to know. It never shows itself.
package struct SecretToken: Sendable, CustomStringConvertible, CustomDebugStringConvertible {
    private let bytes: [UInt8]

    /// - Parameter text: white space around it, such as the end of a line of a file, is no part of the token.
    /// - Throws: `invalidArgument` when nothing is left, or when a header could not carry it.
    package init(_ text: String) throws(ConnectError) {
        let trimmed = text.drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed()
        bytes = Array(String(trimmed).utf8)
        guard !bytes.isEmpty else {
            throw ConnectError(.invalidArgument, "the token is empty; write one, such as 32 random characters")
        }
        guard bytes.allSatisfy({ (0x21...0x7E).contains($0) }) else {
            throw ConnectError(.invalidArgument, "the token holds something else than visible ASCII characters")
        }
    }

    /// Takes as long for a token that is nearly right as for one that is not right at all.
    package func matches(_ presented: some StringProtocol) -> Bool {
        let other = Array(presented.utf8)
        var difference = other.count ^ bytes.count
        for (index, byte) in other.enumerated() { difference |= Int(byte ^ bytes[index % bytes.count]) }
        return difference == 0
    }

    package var description: String { "<token>" }
    package var debugDescription: String { description }
}
