internal import Synchronization

/// A blob that lies in a file of this machine, verified while it is read.
final class StoredBlobReader: BlobReader {
    private struct Open {
        var file: StoredFile
        var position: Int64 = 0
        /// nil where nothing but the size is known of the bytes.
        var verifier: BlobVerifier?
    }

    private enum State {
        case open(Open)
        case ended
        case failed(OCIError)
    }

    private let name: String
    private let state: Mutex<State>

    /// A blob of which size and digest must be those of its descriptor.
    init(_ file: StoredFile, _ descriptor: Descriptor, name: String) throws(OCIError) {
        guard file.size == descriptor.size else {
            throw OCIError(
                .sizeMismatch, "\(name) has \(file.size) bytes; its descriptor states \(descriptor.size)")
        }
        self.name = name
        state = Mutex(.open(Open(file: file, verifier: BlobVerifier(descriptor, name: name))))
    }

    /// The bytes of a file that has no digest of its own: what they hold is proven by who decodes them.
    init(undigested file: StoredFile, name: String) {
        self.name = name
        state = Mutex(.open(Open(file: file)))
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(OCIError) -> Int {
        guard let base = buffer.baseAddress, !buffer.isEmpty else { return 0 }
        // The pointer is used only until the closure returns; the lock is held by this call all the while.
        nonisolated(unsafe) let target = base
        let size = buffer.count
        return try state.withLock { (state) throws(OCIError) -> Int in
            switch state {
            case .open(var open):
                // The hasher is not to be copied at each piece, as it would be while the state holds it too.
                state = .ended
                do throws(OCIError) {
                    let count = try Self.read(&open, into: target, size: size, name: name)
                    if count > 0 { state = .open(open) }
                    return count
                } catch {
                    state = .failed(error)
                    throw error
                }
            case .ended:
                return 0
            case .failed(let error):
                throw error
            }
        }
    }

    func close() {
        state.withLock { state in
            if case .open = state { state = .failed(OCIError(.cancelled, "\(name) was closed before its end")) }
        }
    }

    private static func read(
        _ open: inout Open, into base: UnsafeMutableRawPointer, size: Int, name: String
    ) throws(OCIError) -> Int {
        let count = try open.file.read(into: base, count: size, at: open.position, name: name)
        open.position += Int64(count)
        if count > 0 {
            try open.verifier?.accept(UnsafeRawBufferPointer(start: base, count: count))
            return count
        }
        guard open.position == open.file.size else {
            throw OCIError(.sizeMismatch, "\(name) became shorter while it was read")
        }
        try open.verifier?.finish()
        return 0
    }
}
