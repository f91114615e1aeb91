import Glibc

/// The payloads of one layer's hidden files, kept until the layer ends in case a hard link of it needs one.
///
/// The first bytes stay in memory, the others go to an unlinked temporary file: a crash leaves nothing behind.
final class HiddenPayloads {
    /// One file's payload: its stored bytes lie in a row.
    struct Held {
        var start: UInt64
        var map: SparseMap
    }

    private let limit: UInt64
    private let directory: String
    private var memory: [UInt8] = []
    private var descriptor: Int32 = -1
    private var end: UInt64 = 0

    private static let memorySize = 8 << 20
    private static let pieceSize = 256 << 10

    init(limit: UInt64, directory: String) {
        self.limit = limit
        self.directory = directory
    }

    deinit {
        if descriptor >= 0 { close(descriptor) }
    }

    func hold(_ map: SparseMap, of reader: TarReader) throws(RootFSError) -> Held {
        guard map.stored <= limit, end <= limit - map.stored else {
            throw RootFSError(
                exceeding: .hiddenBytes,
                "files that upper layers hide have more than \(limit) bytes, the limit for what is kept aside while "
                    + "a layer is read")
        }
        let held = Held(start: end, map: map)
        try reader.readPayload { (piece) throws(RootFSError) in
            if case .data(let bytes) = piece { try append(bytes) }
        }
        return held
    }

    /// Gives a held payload back in order.
    func read(_ held: Held, _ body: (TarReader.Piece) throws(RootFSError) -> Void) throws(RootFSError) {
        var stored = held.start
        var position: UInt64 = 0
        for segment in held.map.segments {
            if segment.offset > position { try body(.hole(segment.offset - position)) }
            try read(stored..<(stored + segment.length)) { (bytes) throws(RootFSError) in try body(.data(bytes)) }
            stored += segment.length
            position = segment.offset + segment.length
        }
        if held.map.size > position { try body(.hole(held.map.size - position)) }
    }

    private func append(_ bytes: UnsafeRawBufferPointer) throws(RootFSError) {
        let kept = min(bytes.count, Self.memorySize - memory.count)
        memory.append(contentsOf: bytes[..<kept])
        end += UInt64(kept)
        var rest = UnsafeRawBufferPointer(rebasing: bytes[kept...])
        if !rest.isEmpty, descriptor < 0 { try open() }
        while !rest.isEmpty {
            let written = pwrite(descriptor, rest.baseAddress, rest.count, off_t(end) - off_t(Self.memorySize))
            guard written > 0 else {
                if written < 0, errno == EINTR { continue }
                throw failure("cannot write the temporary file for hidden files in \(directory)")
            }
            end += UInt64(written)
            rest = UnsafeRawBufferPointer(rebasing: rest[written...])
        }
    }

    private func read(
        _ range: Range<UInt64>, _ body: (UnsafeRawBufferPointer) throws(RootFSError) -> Void
    ) throws(RootFSError) {
        var position = range.lowerBound
        let memorySize = UInt64(Self.memorySize)
        var piece: [UInt8] = []
        while position < range.upperBound {
            let wanted = Int(min(range.upperBound - position, UInt64(Self.pieceSize)))
            if position < memorySize {
                let size = min(wanted, Int(memorySize - position))
                piece = Array(memory[Int(position)..<(Int(position) + size)])
            } else {
                piece = try readFile(at: position - memorySize, count: wanted)
            }
            position += UInt64(piece.count)
            // The closure of withUnsafeBytes cannot throw a typed error through, so the result is carried out.
            let result = piece.withUnsafeBytes { bytes -> Result<Void, RootFSError> in
                do throws(RootFSError) {
                    return .success(try body(bytes))
                } catch {
                    return .failure(error)
                }
            }
            try result.get()
        }
    }

    private func readFile(at offset: UInt64, count: Int) throws(RootFSError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        while true {
            let size = bytes.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress, count, off_t(offset)) }
            if size > 0 { return Array(bytes[..<size]) }
            if size < 0, errno == EINTR { continue }
            throw failure("cannot read the temporary file for hidden files in \(directory)")
        }
    }

    private func open() throws(RootFSError) {
        // Without a name from the start where the file system can do that (kernel: fcntl.h, __O_TMPFILE).
        let unnamed = 0o20000000 | O_DIRECTORY
        descriptor = Glibc.open(directory, O_RDWR | O_CLOEXEC | unnamed, 0o600)
        var attempts = 16
        while descriptor < 0, attempts > 0 {
            attempts -= 1
            let path = "\(directory)/.rootfs-hidden-\(UInt64.random(in: 0 ... .max))"
            descriptor = Glibc.open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            if descriptor >= 0 { unlink(path) } else if errno != EEXIST, errno != EINTR { break }
        }
        guard descriptor >= 0 else { throw failure("cannot make a temporary file for hidden files in \(directory)") }
    }

    private func failure(_ what: String) -> RootFSError {
        RootFSError(.output, "\(what): \(String(cString: strerror(errno)))")
    }
}
