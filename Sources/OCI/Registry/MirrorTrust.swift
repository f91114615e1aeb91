internal import Synchronization

/// Which mirrors are asked for layers: those that have not failed yet, and none after one gave bytes that may have
/// spoilt a conversion.
final class MirrorTrust: Sendable {
    private struct State {
        /// Readers that had bytes from a mirror and have not proven them.
        var unproven = 0
        var isLost = false
        /// Names of repositories that are not asked again: waiting for them at each layer would be long.
        var failed: Set<String> = []
    }

    private let state = Mutex(State())

    /// The mirrors to ask for a layer. If there are any, ``proved()`` is to follow when the whole blob was right.
    func begin(_ mirrors: [RegistryRepository]) -> [RegistryRepository] {
        state.withLock { state in
            guard !state.isLost else { return [] }
            let usable = mirrors.filter { !state.failed.contains($0.name) }
            if !usable.isEmpty { state.unproven += 1 }
            return usable
        }
    }

    func proved() {
        state.withLock { $0.unproven -= 1 }
    }

    /// The mirror does not have the image, or does not answer.
    func passOver(_ mirror: RegistryRepository) {
        state.withLock { _ = $0.failed.insert(mirror.name) }
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
