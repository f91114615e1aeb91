internal import Files
internal import Synchronization

/// A blob that comes from the cache as far as it is there, from a registry for the rest, and is in the cache afterwards.
final class CachingBlobReader: BlobReader {
    /// Opens the transfer of what follows the bytes that a verifier has seen; of the whole blob without one.
    typealias Transfer = @Sendable (BlobVerifier?) -> any BlobReader

    private enum Stage {
        case whole(StoredBlobReader)
        case part(PartialBlob, BlobVerifier)
        case transfer(any BlobReader, PartialBlob?, position: Int64)
        case ended
        case failed(OCIError)
    }

    private let descriptor: Descriptor
    private let name: String
    private let cache: BlobCache
    private let transfer: Transfer
    private let current = CurrentReader()
    private let stage: Mutex<Stage>

    /// Opens the blob; where the cache has nothing of it, the transfer begins at once.
    init(_ descriptor: Descriptor, cache: BlobCache, transfer: @escaping Transfer) throws(OCIError) {
        self.descriptor = descriptor
        self.cache = cache
        self.transfer = transfer
        name = "blob \(descriptor.digest) of the cache \(printable(cache.directory, limit: 400))"
        switch cache.open(descriptor) {
        case .whole(let file):
            let reader = try StoredBlobReader(file, descriptor, name: name)
            stage = Mutex(.whole(reader))
        case .partial(let partial) where partial.existing > 0:
            stage = Mutex(.part(partial, BlobVerifier(descriptor, name: name)))
        case .partial(let partial):
            let reader = transfer(nil)
            current.replace(with: reader)
            stage = Mutex(.transfer(reader, partial, position: 0))
        case .unavailable:
            let reader = transfer(nil)
            current.replace(with: reader)
            stage = Mutex(.transfer(reader, nil, position: 0))
        }
    }

    deinit { close() }

    func close() {
        current.close()
        letGo()
    }

    /// Frees the lock on the part, once closed. Who is reading does it when that is done.
    private func letGo() {
        guard current.isClosed else { return }
        _ = stage.withLockIfAvailable { stage in
            switch stage {
            case .whole, .part, .transfer: stage = .failed(closed)
            case .ended, .failed: break
            }
        }
    }

    private var closed: OCIError { OCIError(.cancelled, "\(name) was closed before its end") }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws(OCIError) -> Int {
        guard let base = buffer.baseAddress, !buffer.isEmpty else { return 0 }
        defer { letGo() }
        // The pointer is used only until the closure returns, by the thread that called.
        nonisolated(unsafe) let target = base
        let size = buffer.count
        return try stage.withLock { (stage) throws(OCIError) -> Int in
            do throws(OCIError) {
                let isEnd = if case .ended = stage { true } else { false }
                if current.isClosed, !isEnd { throw closed }
                return try read(&stage, into: UnsafeMutableRawBufferPointer(start: target, count: size))
            } catch {
                // The lock on a partial blob goes with it, so that the next one can go on.
                stage = .failed(error)
                throw error
            }
        }
    }

    private func read(
        _ stage: inout Stage, into buffer: UnsafeMutableRawBufferPointer
    ) throws(OCIError) -> Int {
        while true {
            switch stage {
            case .whole(let reader):
                let count = try readWhole(reader, into: buffer)
                if count == 0 { stage = .ended }
                return count
            case .part(let partial, var verifier):
                // The hasher is not to be copied at each piece, as it would be while the stage holds it too.
                stage = .ended
                let count = try readPart(partial, &verifier, into: buffer)
                if count > 0 {
                    stage = .part(partial, verifier)
                    return count
                }
                stage = try next(after: partial, verifier)
            case .transfer(let reader, var partial, let position):
                let count = try readTransfer(reader, &partial, position, into: buffer)
                stage = count == 0 ? .ended : .transfer(reader, partial, position: position + Int64(count))
                return count
            case .ended:
                return 0
            case .failed(let error):
                throw error
            }
        }
    }

    private func readWhole(
        _ reader: StoredBlobReader, into buffer: UnsafeMutableRawBufferPointer
    ) throws(OCIError) -> Int {
        do throws(OCIError) {
            let count = try reader.read(into: buffer)
            if count == 0 { cache.proved(descriptor.digest) }
            return count
        } catch {
            throw damaged(error)
        }
    }

    private func readPart(
        _ partial: PartialBlob, _ verifier: inout BlobVerifier, into buffer: UnsafeMutableRawBufferPointer
    ) throws(OCIError) -> Int {
        guard let base = buffer.baseAddress else { return 0 }
        let count = try partial.stored.read(into: base, count: buffer.count, at: verifier.count, name: name)
        try verifier.accept(UnsafeRawBufferPointer(start: base, count: count))
        return count
    }

    /// What comes when the bytes that were there are read.
    private func next(after partial: PartialBlob, _ verifier: BlobVerifier) throws(OCIError) -> Stage {
        guard verifier.count < descriptor.size else {
            // It was complete; only the name was missing.
            do throws(OCIError) {
                try verifier.finish()
            } catch {
                partial.remove()
                throw damaged(error)
            }
            publish(partial)
            return .ended
        }
        let reader = transfer(verifier)
        current.replace(with: reader)
        return .transfer(reader, partial, position: verifier.count)
    }

    private func readTransfer(
        _ reader: any BlobReader, _ partial: inout PartialBlob?, _ position: Int64,
        into buffer: UnsafeMutableRawBufferPointer
    ) throws(OCIError) -> Int {
        let count: Int
        do throws(OCIError) {
            count = try reader.read(into: buffer)
        } catch {
            // With wrong bytes in it, it would fail for ever; otherwise it waits for the next try.
            guard isDamage(error), let partial else { throw error }
            partial.remove()
            guard partial.existing > 0 else { throw error }
            throw damaged(error)
        }
        guard let file = partial else { return count }
        guard count > 0 else {
            publish(file)
            return 0
        }
        do throws(FileError) {
            try file.write(UnsafeRawBufferPointer(rebasing: buffer[..<count]), at: position)
        } catch {
            cache.warn(error)
            // The room may be what the image itself needs.
            file.remove()
            partial = nil
        }
        return count
    }

    private func publish(_ partial: PartialBlob) {
        do throws(FileError) {
            try partial.publish()
        } catch {
            cache.warn(error)
        }
        cache.proved(descriptor.digest)
    }

    /// A transfer that ends too early can be tried again; bytes that are wrong are wrong for good.
    private func isDamage(_ error: OCIError) -> Bool {
        !error.isRetryable && (error.code == .digestMismatch || error.code == .sizeMismatch)
    }

    private func damaged(_ error: OCIError) -> OCIError {
        guard isDamage(error) else { return error }
        cache.remove(descriptor.digest, why: error.message)
        return OCIError(
            error.code, "\(error.message); it was removed from the cache, so another try fetches it anew",
            cause: error.cause, retryable: true)
    }
}

/// The reader that another one reads from at the moment, so that any thread can close it while it is read.
final class CurrentReader: Sendable {
    private struct State {
        var reader: (any BlobReader)?
        var isClosed = false
    }

    private let state = Mutex(State())

    var isClosed: Bool { state.withLock { $0.isClosed } }

    /// Takes the place of the one before; closed at once when this was closed already.
    func replace(with reader: any BlobReader) {
        let isClosed = state.withLock { state in
            state.reader = reader
            return state.isClosed
        }
        if isClosed { reader.close() }
    }

    func close() {
        let reader = state.withLock { state in
            state.isClosed = true
            return state.reader
        }
        reader?.close()
    }
}
