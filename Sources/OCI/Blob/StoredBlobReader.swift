internal import Glibc
internal import Synchronization

/// A blob of a layout, verified while it is read.
final class LayoutBlobReader: BlobReader {
    private struct Open: ~Copyable {
        var file: LayoutDirectory.File
        var verifier: BlobVerifier
    }

    private enum State: ~Copyable {
        case open(Open)
        case ended
        case failed(OCIError)
    }

    private let name: String
    private let state: Mutex<State>

    init(_ descriptor: Descriptor, in directory: LayoutDirectory) throws(OCIError) {
        name = "blob \(descriptor.digest) of \(directory.shown)"
        let file = try directory.openBlob(descriptor.digest)
        guard file.size == descriptor.size else {
            throw OCIError(
                .sizeMismatch, "\(name) has \(file.size) bytes; its descriptor states \(descriptor.size)")
        }
        state = Mutex(.open(Open(file: file, verifier: BlobVerifier(descriptor, name: name))))
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(OCIError) -> Int {
        guard let base = buffer.baseAddress, !buffer.isEmpty else { return 0 }
        // The pointer is used only until the closure returns; the lock is held by this call all the while.
        nonisolated(unsafe) let target = base
        let size = buffer.count
        return try state.withLock { (state) throws(OCIError) -> Int in
            switch consume state {
            case .open(var open):
                do throws(OCIError) {
                    let count = try Self.read(&open, into: target, size: size, name: name)
                    state = count == 0 ? .ended : .open(open)
                    return count
                } catch {
                    state = .failed(error)
                    throw error
                }
            case .ended:
                state = .ended
                return 0
            case .failed(let error):
                state = .failed(error)
                throw error
            }
        }
    }

    func close() {
        state.withLock { state in
            switch consume state {
            case .open: state = .failed(OCIError(.cancelled, "\(name) was closed before its end"))
            case .ended: state = .ended
            case .failed(let error): state = .failed(error)
            }
        }
    }

    private static func read(
        _ open: inout Open, into base: UnsafeMutableRawPointer, size: Int, name: String
    ) throws(OCIError) -> Int {
        let descriptor = open.file.descriptor
        let offset = open.verifier.count
        let count = retryingInterrupts { pread(descriptor, base, size, off_t(offset)) }
        guard count >= 0 else { throw OCIError(.ioFailure, "\(name) cannot be read: \(describe(errno: errno))") }
        if count == 0 {
            try open.verifier.finish()
        } else {
            try open.verifier.accept(UnsafeRawBufferPointer(start: base, count: count))
        }
        return count
    }
}
