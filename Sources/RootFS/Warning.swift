/// Something in an image that was not kept as it stands, and that is no reason to refuse the image.
package struct Warning: Sendable, CustomStringConvertible {
    package var layer: String
    /// The entry's path, printable; nil for the whole layer.
    package var entry: String?
    package var message: String

    package var description: String {
        entry.map { "layer \(layer): entry \"\($0)\": \(message)" } ?? "layer \(layer): \(message)"
    }
}

/// Counts all warnings and passes on the first ones: an archive may have one for each of its entries.
final class WarningLog {
    private let deliver: (Warning) -> Void
    private(set) var count = 0
    /// The layer that is being read.
    var layer = ""

    private static let maximumDelivered = 1_000

    init(_ deliver: @escaping (Warning) -> Void) {
        self.deliver = deliver
    }

    func warn(entry: [UInt8]? = nil, _ message: @autoclosure () -> String) {
        count += 1
        guard count <= Self.maximumDelivered else { return }
        deliver(Warning(layer: layer, entry: entry.map { printable($0) }, message: message()))
    }
}
