/// Values that must not be shown, and what is shown in their place.
struct Secrets: Sendable {
    /// Shorter ones would blank out ordinary words.
    private static let shortest = 6
    private let values: [String]

    /// The values of headers, and what stands behind a scheme as `Bearer`.
    init(_ headers: [(name: String, value: String)]) {
        values = headers.flatMap { header -> [String] in
            let parts = header.value.split(separator: " ", maxSplits: 1).map(String.init)
            return [header.value] + parts.dropFirst()
        }.filter { $0.utf8.count >= Self.shortest }
    }

    func redacted(_ text: String) -> String {
        values.reduce(text) { Self.replace($1, in: $0) }
    }

    private static func replace(_ secret: String, in text: String) -> String {
        let needle = Array(secret.utf8)
        var rest = Array(text.utf8)[...]
        var kept: [UInt8] = []
        while rest.count >= needle.count {
            if rest.starts(with: needle) {
                kept += "[redacted]".utf8
                rest = rest.dropFirst(needle.count)
            } else {
                kept.append(rest.removeFirst())
            }
        }
        return String(decoding: kept + rest, as: UTF8.self)
    }
}
