/// How many bytes the sender of a stream may still send: flow control by credit.
///
/// Each stream (a command's input, output and errors; a file's contents) begins with ``initial``. The receiver gives
/// credit for what it has passed on, so it never holds more than that.
package struct SendWindow: Hashable, Sendable {
    /// What may be sent before any credit came, in bytes.
    package static let initial = 128 << 10
    /// The most bytes of a stream in one message, so that many streams share the connection.
    package static let maximumPiece = 32 << 10

    package private(set) var available: Int

    package init() {
        available = Self.initial
    }

    /// How much the next message may carry; 0 when there is no credit.
    package var piece: Int { min(available, Self.maximumPiece) }

    package mutating func sent(_ count: Int) {
        available = max(0, available - count)
    }

    /// - Returns: `false` when that is more than the receiver ever took: it does not follow the protocol.
    package mutating func credit(_ count: UInt32) -> Bool {
        guard available + Int(count) <= Self.initial else { return false }
        available += Int(count)
        return true
    }
}

/// The receiver's side of a ``SendWindow``.
package struct ReceiveWindow: Hashable, Sendable {
    private var open = SendWindow.initial
    private var owed = 0

    package init() {}

    /// - Returns: `false` when the sender had no credit for so much.
    package mutating func received(_ count: Int) -> Bool {
        guard count <= open else { return false }
        open -= count
        return true
    }

    /// What was received is passed on.
    ///
    /// - Returns: the credit to be sent now, if any: small ones are gathered.
    package mutating func passedOn(_ count: Int) -> UInt32? {
        owed += count
        guard owed >= SendWindow.initial / 4 else { return nil }
        open += owed
        defer { owed = 0 }
        return UInt32(clamping: owed)
    }
}
