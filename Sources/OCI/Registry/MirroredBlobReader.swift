internal import Logging
internal import Synchronization

/// A blob that is asked for at one registry after another, the mirrors before the origin; what one does not give, the
/// next one does from there on.
final class MirroredBlobReader: BlobReader {
    private struct State {
        var reader: RegistryBlobReader
        var place: RegistryRepository
        /// Where to ask next.
        var rest: ArraySlice<RegistryRepository>
        /// Whether the end is still to be told to the trust.
        var isCounted: Bool
    }

    private let descriptor: Descriptor
    private let trust: MirrorTrust
    private let logger: Logger
    private let current = CurrentReader()
    private let state: Mutex<State>

    /// - Parameter mirrors: asked before `origin`, as far as they are trusted.
    init(
        _ descriptor: Descriptor, mirrors: [RegistryRepository], origin: RegistryRepository, trust: MirrorTrust,
        continuing verifier: BlobVerifier?, logger: Logger
    ) {
        self.descriptor = descriptor
        self.trust = trust
        self.logger = logger
        let places = trust.begin(mirrors) + [origin]
        let first = places.first ?? origin
        let reader = RegistryBlobReader(descriptor, repository: first, continuing: verifier)
        current.replace(with: reader)
        state = Mutex(
            State(reader: reader, place: first, rest: places.dropFirst(), isCounted: places.count > 1))
    }

    deinit { close() }

    func close() { current.close() }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(OCIError) -> Int {
        guard let base = buffer.baseAddress, !buffer.isEmpty else { return 0 }
        // The pointer is used only until the closure returns, by the thread that called.
        nonisolated(unsafe) let target = base
        let size = buffer.count
        return try state.withLock { (state) throws(OCIError) -> Int in
            while true {
                do throws(OCIError) {
                    let count = try state.reader.read(
                        into: UnsafeMutableRawBufferPointer(start: target, count: size))
                    if count == 0, state.isCounted {
                        trust.proved()
                        state.isCounted = false
                    }
                    return count
                } catch {
                    try goOn(&state, after: error)
                }
            }
        }
    }

    /// Wrong bytes were handed on already: no other registry can take them back.
    private func goOn(_ state: inout State, after error: OCIError) throws(OCIError) {
        let isFinal = error.code == .cancelled || error.code == .digestMismatch || current.isClosed
        guard !isFinal, let next = state.rest.popFirst() else { throw error }
        if error.isRetryable { trust.passOver(state.place) }
        logger.warning(
            "a mirror does not give a layer; the next registry is asked",
            metadata: ["mirror": "\(state.place.name)", "next": "\(next.name)", "why": "\(error.message)"])
        let reader = RegistryBlobReader(descriptor, repository: next, continuing: state.reader.progress)
        state.reader = reader
        state.place = next
        current.replace(with: reader)
    }
}
