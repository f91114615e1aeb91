internal import Synchronization

/// Whether mirrors are asked for blobs: until one gave bytes that may have spoilt a conversion.
final class MirrorTrust: Sendable {
    private struct State {
        /// Readers that had bytes from a mirror and have not proven them.
        var unproven = 0
        var isLost = false
    }

    private let state = Mutex(State())

    /// Whether a mirror may be asked; if so, ``proved()`` is to follow when the whole blob was right.
    func begin() -> Bool {
        state.withLock { state in
            if !state.isLost { state.unproven += 1 }
            return !state.isLost
        }
    }

    func proved() {
        state.withLock { $0.unproven -= 1 }
    }

    /// After a failure that wrong bytes can have caused.
    ///
    /// - Returns: whether mirrors were asked until now and are not any more.
    func lose() -> Bool {
        state.withLock { state in
            guard state.unproven > 0, !state.isLost else { return false }
            state.isLost = true
            return true
        }
    }
}
