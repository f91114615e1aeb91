/// `Connect-Timeout-Ms`: how long the caller will wait, in milliseconds, at most ten digits.
enum TimeoutHeader {
    static let name = "connect-timeout-ms"
    private static let most: Int64 = 9_999_999_999

    /// Rounded up, so that the server never gives up before the client; never zero, never more than fits.
    static func text(_ duration: Duration) -> String {
        let (seconds, attoseconds) = duration.components
        if seconds >= most / 1000 { return "\(most)" }
        let milliseconds = seconds * 1000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000
        return "\(max(1, min(milliseconds, most)))"
    }

    static func parse(_ text: String) throws(ConnectError) -> Duration {
        guard (1...10).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let milliseconds = Int64(text)
        else { throw ConnectError(.invalidArgument, "Connect-Timeout-Ms must be one to ten digits") }
        return .milliseconds(milliseconds)
    }
}
