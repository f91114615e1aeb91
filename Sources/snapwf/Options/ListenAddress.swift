import Connect
import SnapshotSteps

/// `--listen`: HOST:PORT, or unix:PATH.
enum ListenAddress {
    /// - Parameter example: a port, for the message.
    static func parse(_ text: String, example: Int) throws -> ConnectServerConfiguration.Address {
        if text.hasPrefix("unix:") {
            guard text.utf8.count > 5 else {
                throw SnapshotError(.usage, "--listen unix: names no path: write unix:PATH")
            }
            return .unix(path: Places.absolutePath(String(text.dropFirst(5))))
        }
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
            (0...65_535).contains(port)
        else {
            throw SnapshotError(
                .usage, "--listen \(text): write HOST:PORT, such as 127.0.0.1:\(example), or unix:PATH")
        }
        let host = text[..<colon].drop { $0 == "[" }.filter { $0 != "]" }
        return .tcp(host: host.isEmpty ? "127.0.0.1" : String(host), port: port)
    }
}
