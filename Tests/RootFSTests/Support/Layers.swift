import Crypto
@testable import RootFS

/// A layer's bytes from memory, in pieces of a given size.
struct MemorySource: LayerSource {
    var bytes: ArraySlice<UInt8>
    var pieceSize = Int.max

    mutating func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
        let count = min(bytes.count, buffer.count, pieceSize)
        buffer.copyBytes(from: bytes.prefix(count))
        bytes.removeFirst(count)
        return count
    }
}

extension Layer {
    /// A layer whose diffID fits.
    init(_ archive: [UInt8], _ compression: Compression = .none, name: String = "test", pieceSize: Int = .max) {
        let stored =
            switch compression {
            case .none: archive
            case .gzip: gzip(archive)
            case .zstd: zstd(archive)
            }
        self.init(
            name: name, compression: compression, diffID: Array(SHA256.hash(data: archive)),
            open: { MemorySource(bytes: stored[...], pieceSize: pieceSize) })
    }

    /// A layer of these stored bytes, without a diffID.
    init(stored bytes: [UInt8], _ compression: Compression, name: String = "test", pieceSize: Int = .max) {
        self.init(
            name: name, compression: compression, diffID: nil,
            open: { MemorySource(bytes: bytes[...], pieceSize: pieceSize) })
    }
}

/// An entry of an archive with its whole payload, holes as zeros.
struct ReadEntry {
    var entry: TarEntry
    var content: [UInt8] = []
    var holes: UInt64 = 0

    var name: String { String(decoding: entry.path, as: UTF8.self) }
}

/// Reads all entries of an archive.
func readEntries(
    _ layer: Layer, limits: Limits = Limits(), skippingPayloads: Bool = false,
    execution: Execution = Execution(threads: 1)
) throws(RootFSError) -> [ReadEntry] {
    let stream = try LayerStream(layer, budget: Budget(limits), execution: execution)
    let reader = TarReader(stream, limits: limits)
    var found: [ReadEntry] = []
    while let entry = try reader.next() {
        var read = ReadEntry(entry: entry)
        if !skippingPayloads {
            try reader.readPayload { piece in
                switch piece {
                case .data(let bytes): read.content += bytes
                case .hole(let count):
                    read.holes += count
                    if count < 1 << 24 { read.content += [UInt8](repeating: 0, count: Int(count)) }
                }
            }
        }
        found.append(read)
    }
    _ = try stream.finish()
    return found
}

func readEntries(_ archive: [UInt8]) throws(RootFSError) -> [ReadEntry] {
    try readEntries(Layer(archive))
}

/// The error of a body that must fail with one.
func failure(_ body: () throws(RootFSError) -> Void) -> RootFSError? {
    do throws(RootFSError) {
        try body()
        return nil
    } catch {
        return error
    }
}
