import EXT4
import Glibc
import Testing
import Threads

@testable import RootFS

/// Stages that fail, or that wait for something that does not come.
@Suite("Stages of a conversion")
struct StageTests {
    /// Gives some bytes, then blocks until it is cancelled.
    private struct Stalled: LayerSource {
        struct Cancelled: Error {}

        var memory: MemorySource
        let isCancelled: Monitor<Bool>

        mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
            let count = memory.read(into: buffer)
            if count > 0 { return count }
            isCancelled.wait { $0 ? () : nil }
            throw Cancelled()
        }

        var cancellation: (@Sendable () -> Void)? { { [isCancelled] in isCancelled.update { $0 = true } } }
    }

    /// Fails after some bytes.
    private struct Broken: LayerSource {
        struct Cut: Error {}

        var memory: MemorySource

        mutating func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
            let count = memory.read(into: buffer)
            if count == 0 { throw Cut() }
            return count
        }
    }

    /// More than all buffers together hold.
    private static let large = TarBuilder.archive([
        Member("large", .file((0..<24).reduce(into: []) { bytes, _ in bytes += part }))
    ])
    private static let part = (0..<(1 << 20)).map { UInt8(truncatingIfNeeded: $0 &* $0 &>> 11) }

    @Test("an archive that is refused ends a source that waits for the network")
    func refusedWhileWaiting() throws {
        // A bad entry, then enough to fill the buffer that the reader wants to hand over first.
        let archive = TarBuilder.archive([.file("../x"), .file("y")]) + [UInt8](repeating: 0, count: 400_000)
        for threads in [3, 4] {
            let isCancelled = Monitor(false)
            var layer = Layer(archive)
            layer.open = { Stalled(memory: MemorySource(bytes: archive[...]), isCancelled: isCancelled) }
            let error = try refusal([layer], execution: Execution(threads: threads))
            #expect(error?.code == .name)
            #expect(isCancelled.update { $0 })
        }
    }

    @Test("a source that fails in the middle of a file fails the conversion with its cause", arguments: ways)
    func failsInTheMiddle(way: Execution) throws {
        for compression in [Compression.none, .gzip, .zstd] {
            let stored = stored(Self.large, compression)
            var layer = Layer(Self.large, compression)
            layer.open = { Broken(memory: MemorySource(bytes: stored[..<(stored.count / 2)])) }
            let error = try refusal([layer], execution: way)
            #expect(error?.code == .source)
            #expect(error?.cause is Broken.Cut)
        }
    }

    @Test("an image file that takes no more bytes fails the conversion", arguments: ways)
    func fullFile(way: Execution) throws {
        let descriptor = try makeMemoryFile()
        defer { close(descriptor) }
        // Larger than the seal allows: write(2) answers EPERM from the first byte on (F_SEAL_GROW of fcntl(2)).
        try #require(fcntl(descriptor, 1033, 0x0004) == 0)
        var converter = Converter(temporaryDirectory: "/tmp")
        converter.execution = way
        let error = failure { () throws(RootFSError) in
            _ = try converter.convert(layers: [Layer(Self.large)], into: descriptor, format: testFormat)
        }
        #expect(error?.code == .output)
        #expect((error?.cause as? EXT4Error)?.errno == EPERM)
    }

    private func stored(_ archive: [UInt8], _ compression: Compression) -> [UInt8] {
        switch compression {
        case .none: archive
        case .gzip: gzip(archive, level: 1)
        case .zstd: zstd(archive)
        }
    }
}
