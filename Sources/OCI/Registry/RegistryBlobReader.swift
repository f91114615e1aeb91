internal import Synchronization

/// A blob of a registry, transferred by a task and read by a thread, verified on the reader's side.
final class RegistryBlobReader: BlobReader {
    private struct State {
        var verifier: BlobVerifier
        var end: Result<Void, OCIError>?
    }

    private let name: String
    private let pipe: BlobPipe
    private let transfer: Task<Void, Never>
    private let deadline: ContinuousClock.Instant
    private let state: Mutex<State>

    /// - Parameter verifier: what it has seen of the blob is not transferred again; nil for the whole blob.
    init(_ descriptor: Descriptor, repository: RegistryRepository, continuing verifier: BlobVerifier? = nil) {
        name = "blob \(descriptor.digest) of \(repository.name)"
        let verifier = verifier ?? BlobVerifier(descriptor, name: name)
        let pipe = BlobPipe(window: repository.options.blobWindow, received: verifier.count)
        self.pipe = pipe
        // The transfer keeps its own deadline; the reader's is later, so that it hears what the transfer has to say.
        deadline = .now + repository.options.timeouts.blob + .seconds(30)
        state = Mutex(State(verifier: verifier))
        let download = BlobTransfer(descriptor, name: name, repository: repository, pipe: pipe)
        transfer = Task { await download.run() }
    }

    /// What was read so far: another reader can go on from there.
    var progress: BlobVerifier { state.withLock { $0.verifier } }

    deinit {
        close()
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(OCIError) -> Int {
        guard let base = buffer.baseAddress, !buffer.isEmpty else { return 0 }
        // The pointer is used only until the closure returns, by the thread that called.
        nonisolated(unsafe) let target = base
        let size = buffer.count
        return try state.withLock { (state) throws(OCIError) -> Int in
            if let end = state.end {
                try end.get()
                return 0
            }
            do throws(OCIError) {
                let count = try pipe.read(
                    into: UnsafeMutableRawBufferPointer(start: target, count: size), deadline: deadline)
                if count > 0 {
                    try state.verifier.accept(UnsafeRawBufferPointer(start: target, count: count))
                } else {
                    try state.verifier.finish()
                    state.end = .success(())
                }
                return count
            } catch {
                state.end = .failure(error)
                close()
                throw error
            }
        }
    }

    func close() {
        pipe.close()
        transfer.cancel()
    }
}
