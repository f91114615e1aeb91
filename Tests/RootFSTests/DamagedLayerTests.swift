import EXT4
import Foundation
import Glibc
import TestSupport
import Testing

@testable import RootFS

/// A layer that is cut off, or in which one bit is another: never an image that is not what the layer was.
@Suite("Cut and flipped layers")
struct DamagedLayerTests {
    private static let compressions = [Compression.none, .gzip, .zstd]

    /// 2 MiB in each form.
    private static let large = archive(files: 60)
    /// 100 KiB.
    private static let small = archive(files: 14)

    /// Files that do not compress, some that do, links, attributes.
    private static func archive(files: Int) -> [UInt8] {
        var generator = SeededGenerator(seed: 1)
        var members: [Member] = [.directory("./"), .directory("d", mode: 0o1777)]
        for index in 0..<files {
            let noise = (0..<(index * 1000)).map { _ in generator.byte() }
            members.append(Member("d/noise-\(index)", .file(noise)).with { $0.xattrs = ["user.n": [1, 2, 3]] })
            members.append(Member("d/zeros-\(index)", .file([UInt8](repeating: 0, count: 3000))))
            members.append(.hardLink("link-\(index)", to: "d/noise-\(index)"))
        }
        return TarBuilder.archive(members)
    }

    private static func stored(_ archive: [UInt8], _ compression: Compression) -> [UInt8] {
        switch compression {
        case .none: archive
        case .gzip: gzip(archive, level: 1)
        case .zstd: zstd(archive)
        }
    }

    /// The error of a conversion, or the image.
    private func convert(
        _ stored: [UInt8], _ compression: Compression, diffID: [UInt8]?,
        execution: Execution = Execution(threads: 1)
    ) throws -> Result<[UInt8], RootFSError> {
        var layer = Layer(stored: stored, compression, name: "sha256:layer")
        layer.diffID = diffID
        let descriptor = try makeMemoryFile()
        defer { close(descriptor) }
        var converter = Converter(temporaryDirectory: FileManager.default.temporaryDirectory.path)
        converter.execution = execution
        do throws(RootFSError) {
            _ = try converter.convert(layers: [layer], into: descriptor, format: testFormat)
        } catch {
            return .failure(error)
        }
        try check(lseek(descriptor, 0, SEEK_SET), "lseek")
        return .success(try contents(of: descriptor))
    }

    /// Which kinds of error may come of damage, with and without a digest that tells.
    private static let kinds: Set<RootFSError.Code> = [
        .archive, .compression, .digest, .name, .unsupported, .limit, .link,
    ]

    @Test("a layer that is cut off at any 64 KiB is an error that names it", arguments: compressions)
    func cut(compression: Compression) throws {
        let stored = Self.stored(Self.large, compression)
        let diffID = Layer(Self.large).diffID
        let ends = Array(stride(from: 0, to: stored.count, by: 64 << 10)) + [stored.count - 1, stored.count - 4]
        for end in ends {
            for known in [diffID, nil] {
                let result = try convert(Array(stored[..<end]), compression, diffID: known)
                guard case .failure(let error) = result else {
                    // Of the end mark's second block even GNU tar needs no more than a part.
                    #expect(compression == .none && known == nil && end > stored.count - 512, "cut at \(end): an image")
                    continue
                }
                let expected: Set<RootFSError.Code> = compression == .none ? [.archive, .digest] : [.compression]
                #expect(expected.contains(error.code), "cut at \(end): \(error)")
                #expect(error.layer == "sha256:layer")
                #expect("\(error)".contains("sha256:layer"))
            }
        }
        print("\(compression) cut at \(ends.count) places of \(stored.count) bytes")
    }

    @Test("a flipped bit is an error that names the layer, or changes nothing", arguments: compressions)
    func flipped(compression: Compression) throws {
        let stored = Self.stored(Self.small, compression)
        let diffID = Layer(Self.small).diffID
        guard case .success(let whole) = try convert(stored, compression, diffID: diffID) else {
            Issue.record("the undamaged layer is refused")
            return
        }
        let seed = TestSize.seed("bits flipped in \(compression)")
        var generator = SeededGenerator(seed: seed)
        var positions = (0..<TestSize.count(400, long: 20_000)).map { _ in generator.number(0...(stored.count - 1)) }
        positions += Array(0..<1024) + Array((stored.count - 1024)..<stored.count)
        var kinds: [String: Int] = [:]
        var harmless = 0
        for (index, position) in positions.enumerated() {
            var damaged = stored
            damaged[position] ^= 1 << UInt8(generator.number(0...7))
            // The ends are many; every decoder has its turn.
            let way = ways[index % ways.count]
            let execution = Execution(gzip: way.gzip, threads: 1)
            switch try convert(damaged, compression, diffID: diffID, execution: execution) {
            case .failure(let error):
                kinds["\(error.code)", default: 0] += 1
                #expect(Self.kinds.contains(error.code) && error.layer == "sha256:layer", "at \(position): \(error)")
            case .success(let image):
                harmless += 1
                #expect(image == whole, "a bit flipped at \(position) gives another image")
            }
        }
        // Time and system in a gzip header mean nothing, and zeros may be copied from here or from there.
        #expect(harmless <= (compression == .none ? 0 : positions.count / 16))
        print("\(positions.count) bits flipped in \(compression): \(kinds), \(harmless) harmless")
    }
}
