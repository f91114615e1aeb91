import Crypto
import EXT4
import Foundation
import Glibc
import TestSupport
import Testing

@testable import RootFS

/// Damage of all kinds: what comes out is an image that is sound or an error, the same in whatever way it is read, and
/// memory stays within bounds.
@Suite("Fuzzing of layers")
struct FuzzTests {
    @Test("the undamaged layers are an image")
    func undamaged() throws {
        #expect(try refusal(Damage.sample.map { Layer($0, .zstd) }, limits: LayerFuzz.limits) == nil)
    }

    @Test("damaged archives read the same whole, in pieces and skipped over")
    func archives() async throws {
        let directory = try TemporaryDirectory()
        let run = FuzzRun(
            "archives", count: TestSize.count(6000, long: 300_000), memory: 128 << 20, log: "\(directory.path)/log")
        await #expect(processExitsWith: .success) { [run = run as FuzzRun] in run.rounds(LayerFuzz.archive) }
        #expect(run.said.contains("passed"), "\(run.said)")
        print(run.said)
    }

    @Test("damaged gzip is the same to every decoder")
    func gzipStreams() async throws {
        let directory = try TemporaryDirectory()
        let run = FuzzRun(
            "gzip", count: TestSize.count(6000, long: 300_000), memory: 128 << 20, log: "\(directory.path)/log")
        await #expect(processExitsWith: .success) { [run = run as FuzzRun] in run.rounds(LayerFuzz.gzipStream) }
        #expect(run.said.contains("passed"), "\(run.said)")
        print(run.said)
    }

    @Test("damaged zstd is the same in pieces of any size, and what libzstd makes of it at once")
    func zstdStreams() async throws {
        let directory = try TemporaryDirectory()
        // A frame may ask for a window of 128 MiB.
        let run = FuzzRun(
            "zstd", count: TestSize.count(6000, long: 300_000), memory: 256 << 20, log: "\(directory.path)/log")
        await #expect(processExitsWith: .success) { [run = run as FuzzRun] in run.rounds(LayerFuzz.zstdStream) }
        #expect(run.said.contains("passed"), "\(run.said)")
        print(run.said)
    }

    @Test("damaged layers give the same sound image on any number of threads, or the same error")
    func conversions() async throws {
        let directory = try TemporaryDirectory()
        let run = FuzzRun(
            "conversions", count: TestSize.count(1200, long: 60_000), memory: 256 << 20, log: "\(directory.path)/log")
        await #expect(processExitsWith: .success) { [run = run as FuzzRun] in run.rounds(LayerFuzz.conversion) }
        #expect(run.said.contains("passed"), "\(run.said)")
        print(run.said)
    }
}

/// The rounds. Each throws when two ways of reading disagree.
enum LayerFuzz {
    static let limits: Limits = {
        var limits = Limits()
        limits.decompressedBytes = 8 << 20
        limits.entries = 5_000
        limits.metadataBytes = 1 << 20
        limits.hiddenBytes = 1 << 20
        return limits
    }()

    // MARK: Archives

    static func archive(_ generator: inout SeededGenerator) throws -> String {
        var bytes: [UInt8]
        if generator.chance(50) {
            bytes = generator.pick(Damage.sample)
        } else {
            var random = RandomLayers(seed: generator.next())
            bytes = TarBuilder.archive(generator.pick(random.stack().layers).members)
        }
        for _ in 0..<generator.number(1...5) { Damage.archive(&bytes, &generator) }
        if generator.chance(70) { Damage.repairSums(&bytes) }
        let whole = read(bytes)
        let pieces = read(bytes, pieceSize: generator.number(1...2000))
        guard whole == pieces else { throw FuzzRun.Failure("in pieces: \(pieces) instead of \(whole)") }
        // Without their payloads.
        let skipped = read(bytes, skipsPayloads: true)
        guard skipped.error == whole.error, skipped.headers == whole.headers else {
            throw FuzzRun.Failure("skipped over: \(skipped) instead of \(whole)")
        }
        return whole.error == nil ? "archives" : "errors"
    }

    private struct Reading: Equatable {
        var headers: [String] = []
        var digest: [UInt8] = []
        var error: String?
    }

    private static func read(_ bytes: [UInt8], pieceSize: Int = .max, skipsPayloads: Bool = false) -> Reading {
        var reading = Reading()
        var hash = SHA256()
        do throws(RootFSError) {
            let stream = try LayerStream(
                Layer(stored: bytes, .none, pieceSize: pieceSize), budget: Budget(limits),
                execution: Execution(threads: 1))
            let archive = TarReader(stream, limits: limits)
            while let entry = try archive.next() {
                reading.headers.append("\(entry.path) \(entry.kind) \(entry.mode) \(entry.uid) \(entry.payload.size)")
                guard !skipsPayloads else { continue }
                try archive.readPayload { piece in
                    switch piece {
                    case .data(let bytes): hash.update(bufferPointer: bytes)
                    case .hole(let count): hash.update(data: Array("\(count)".utf8))
                    }
                }
            }
            _ = try stream.finish()
        } catch {
            // Where an entry's payload ends too soon, only who reads it knows whose it is.
            reading.error = "\(error.code)"
        }
        reading.digest = skipsPayloads ? [] : Array(hash.finalize())
        return reading
    }

    // MARK: Compressed data

    private enum Outcome: Equatable {
        case bytes([UInt8])
        case failed(RootFSError.Code)
    }

    private static func decode(
        _ stored: [UInt8], _ compression: Compression, _ gzip: GzipDecoder, pieceSize: Int
    ) -> Outcome {
        var bytes: [UInt8] = []
        do throws(RootFSError) {
            let stream = try LayerStream(
                Layer(stored: stored, compression, pieceSize: pieceSize), budget: Budget(limits),
                execution: Execution(gzip: gzip, threads: 1))
            while try stream.fill() {
                bytes += stream.window
                stream.consume(stream.window.count)
            }
            return .bytes(bytes)
        } catch {
            return .failed(error.code)
        }
    }

    /// Content that compresses in many ways.
    private static func content(_ generator: inout SeededGenerator) -> [UInt8] {
        var content: [UInt8] = []
        for _ in 0..<generator.number(0...6) {
            let count = generator.pick([1, 10, 300, 5000])
            switch generator.number(0...2) {
            case 0: content += [UInt8](repeating: generator.byte(), count: count)
            case 1: content += (0..<count).map { _ in generator.byte() }
            default: content += content.suffix(count)
            }
        }
        return content
    }

    static func gzipStream(_ generator: inout SeededGenerator) throws -> String {
        var stored: [UInt8] = []
        for _ in 0..<generator.number(1...3) {
            stored += gzip(content(&generator), level: generator.pick([0, 1, 6, 9]))
        }
        // All parts that a header can have (RFC 1952, 2.3).
        if generator.chance(50) {
            stored.replaceSubrange(3..<4, with: [generator.pick([4, 8, 16, 24, 28])])
            stored.insert(contentsOf: Array("\u{2}\0ab".utf8) + Array("name\0more\0".utf8), at: 10)
        }
        for _ in 0..<generator.number(0...3) { Damage.stream(&stored, &generator) }
        let pieceSize = generator.pick([1, 3, 100, .max])
        let outcomes =
            GzipDecoder.available.map { decode(stored, .gzip, $0, pieceSize: pieceSize) }
            + [decode(stored, .gzip, .zlib, pieceSize: .max)]
        guard outcomes.allSatisfy({ $0 == outcomes[0] }) else {
            throw FuzzRun.Failure("gzip of \(stored.count) bytes: \(outcomes.map { summary($0) })")
        }
        return summary(outcomes[0])
    }

    static func zstdStream(_ generator: inout SeededGenerator) throws -> String {
        var stored: [UInt8] = []
        for _ in 0..<generator.number(1...3) {
            stored += zstd(content(&generator), level: generator.pick([1, 3, 9, 19]))
            if generator.chance(20) { stored += skippableFrame(content(&generator)) }
        }
        for _ in 0..<generator.number(0...3) { Damage.stream(&stored, &generator) }
        let sizes = [generator.pick([1, 3, 100]), .max]
        let outcomes = sizes.map { decode(stored, .zstd, .zlib, pieceSize: $0) }
        let texts = outcomes.map { summary($0) }
        for case .bytes(let bytes) in outcomes {
            let atOnce = unzstd(stored, size: bytes.count)
            // In pieces, libzstd does not compare the size that a frame says with what came, where its last block is
            // empty. A layer's diffID does.
            if atOnce == nil, outcomes[1] == .failed(.compression) { return "streams that libzstd should refuse" }
            guard atOnce == bytes else {
                throw FuzzRun.Failure("zstd of \(stored.count) bytes: \(texts), libzstd makes something else of it")
            }
        }
        guard outcomes[0] == outcomes[1] else {
            throw FuzzRun.Failure("zstd of \(stored.count) bytes: \(texts)")
        }
        return texts[0]
    }

    private static func summary(_ outcome: Outcome) -> String {
        switch outcome {
        case .bytes: "streams"
        case .failed(let code): "\(code) errors"
        }
    }

    // MARK: Conversions

    static func conversion(_ generator: inout SeededGenerator) throws -> String {
        var archives = Damage.sample
        if generator.chance(30) {
            var random = RandomLayers(seed: generator.next())
            archives = random.stack().layers.map { TarBuilder.archive($0.members) }
        }
        let index = generator.number(0...(archives.count - 1))
        let isArchive = generator.chance(80)
        if isArchive {
            for _ in 0..<generator.number(1...4) { Damage.archive(&archives[index], &generator) }
            if generator.chance(80) { Damage.repairSums(&archives[index]) }
        }
        let compression = generator.pick([Compression.none, .gzip, .zstd])
        var layers = archives.map { Layer(stored: store($0, compression), compression) }
        if !isArchive {
            var stored = store(archives[index], compression)
            Damage.stream(&stored, &generator)
            layers[index] = Layer(stored: stored, compression)
        }
        // Decoders say in their own words what is wrong.
        let decoder = generator.pick(GzipDecoder.available)
        let one = try convert(layers, Execution(gzip: decoder, threads: 1), checks: true)
        let many = try convert(layers, Execution(gzip: decoder, threads: 4), checks: false)
        guard one == many else { throw FuzzRun.Failure("on four threads: \(many) instead of \(one)") }
        return one.hasPrefix("image") ? "images" : "errors"
    }

    private static func store(_ archive: [UInt8], _ compression: Compression) -> [UInt8] {
        switch compression {
        case .none: archive
        case .gzip: gzip(archive, level: 1)
        case .zstd: zstd(archive)
        }
    }

    /// What comes of layers: an image's checksum, or an error. A check reads all of an image.
    private static func convert(_ layers: [Layer], _ execution: Execution, checks: Bool) throws -> String {
        let descriptor = try makeMemoryFile()
        defer { close(descriptor) }
        var converter = Converter(limits: limits, temporaryDirectory: FileManager.default.temporaryDirectory.path)
        converter.execution = execution
        do throws(RootFSError) {
            _ = try converter.convert(layers: layers, into: descriptor, format: testFormat)
        } catch {
            guard !error.description.isEmpty, error.layer != nil || error.code == .output else {
                throw FuzzRun.Failure("an error that does not say where: \(error)")
            }
            return "\(error)"
        }
        if checks {
            let reader = try ImageReader(fileDescriptor: descriptor)
            let report = try reader.verify()
            guard report.isSound else { throw FuzzRun.Failure("the image is not sound: \(report.problems)") }
        }
        return "image \(try sha256(of: descriptor))"
    }

    private static func sha256(of descriptor: Int32) throws -> SHA256.Digest {
        var hash = SHA256()
        // Of the parts that are no holes, and where they are.
        let size = Int(try check(lseek(descriptor, 0, SEEK_END), "lseek"))
        hash.update(data: Array("\(size)".utf8))
        for range in try dataRanges(of: descriptor, size: size) {
            var bytes = [UInt8](repeating: 0, count: range.count)
            let count = bytes.withUnsafeMutableBytes {
                pread(descriptor, $0.baseAddress, $0.count, off_t(range.lowerBound))
            }
            hash.update(data: Array("\(range)".utf8))
            hash.update(data: bytes[..<(try check(count, "pread"))])
        }
        return hash.finalize()
    }
}
