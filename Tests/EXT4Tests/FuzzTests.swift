import Foundation
import Glibc
import TestSupport
import Testing

@testable import EXT4

/// Damage with checksums that are right again, which lets it through to the code behind them.
@Suite("fuzzing of the reader")
struct FuzzTests {
    @Test("a damaged image is found to be one, or e2fsck finds nothing either, and no reader of it fails otherwise")
    func images() async throws {
        let directory = try TestSupport.TemporaryDirectory()
        let run = FuzzRun(
            "images", count: TestSize.count(1500, long: 50_000), memory: 128 << 20, log: "\(directory.path)/log")
        await #expect(processExitsWith: .success) { [run = run as FuzzRun] in
            let fuzz = try ImageFuzz()
            run.rounds(fuzz.round, cleanUp: fuzz.remove)
        }
        #expect(run.said.contains("passed"), "\(run.said)")
        print(run.said)
    }
}

/// One image that every round damages and puts right again.
private final class ImageFuzz {
    private let image: TestImage
    private let structures: [DamagedImage.Structure]
    private let original: Data
    private let copy: String
    private let descriptor: Int32

    init() throws {
        (image, structures) = try DamagedImage.sample()
        original = try Data(contentsOf: URL(fileURLWithPath: image.path))
        copy = try image.copy()
        descriptor = open(copy, O_RDWR)
        guard descriptor >= 0 else { throw FuzzRun.Failure("the image's copy cannot be opened") }
    }

    func remove() {
        close(descriptor)
        unlink(copy)
        unlink(image.path)
        rmdir(image.directory.path)
    }

    func round(_ generator: inout SeededGenerator) throws -> String {
        let damaged = (0..<generator.pick([1, 1, 1, 2, 3])).map { _ in generator.pick(structures) }
        for structure in damaged { try damage(structure, &generator) }
        for structure in damaged where generator.chance(90) { try DamagedImage.repair(structure, descriptor) }
        defer { for structure in damaged { restore(structure) } }
        do {
            let reader = try ImageReader(fileDescriptor: descriptor)
            let isSound = try reader.verify().isSound
            try walkAll(reader)
            try walkTree(reader)
            guard isSound else { return "damaged" }
        } catch let error as EXT4Error where error.code == .corrupt || error.code == .unsupported {
            return "refused"
        }
        // What we overlook must be nothing to e2fsck either, such as another owner or time.
        let judge = try run(["e2fsck", "-fn", copy])
        guard judge.status == 0 else {
            throw FuzzRun.Failure("\(damaged.map(\.name)) is sound to us, and e2fsck says: \(judge.output)")
        }
        return "sound"
    }

    private func damage(
        _ structure: DamagedImage.Structure, _ generator: inout SeededGenerator
    ) throws {
        for _ in 0..<generator.number(1...8) {
            let offset = generator.number(structure.range.lowerBound...(structure.range.upperBound - 1))
            let value = generator.pick([0, 1, 0x7F, 0x80, 0xFF, generator.byte()] as [UInt8])
            let count = min(generator.number(1...4), structure.range.upperBound - offset)
            guard pwrite(descriptor, [UInt8](repeating: value, count: count), count, off_t(offset)) == count else {
                throw FuzzRun.Failure("the image's file cannot be written")
            }
        }
    }

    private func restore(_ structure: DamagedImage.Structure) {
        let start = structure.range.lowerBound / 4096 * 4096
        let whole = original[start..<((structure.range.upperBound + 4095) / 4096 * 4096)]
        _ = whole.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, off_t(start)) }
    }

    /// Reads all that there is, whatever the verification said of it.
    private func walkAll(_ reader: ImageReader) throws(EXT4Error) {
        for number in 1...min(reader.information.inodeCount, 330) {
            do throws(EXT4Error) {
                let inode = try reader.inode(InodeNumber(number))
                if inode.isDirectory { _ = try reader.entries(of: inode) }
                if inode.isSymlink { _ = try reader.target(of: inode) }
                _ = try reader.extendedAttributes(of: inode)
                if inode.isFile, inode.size < 1 << 24 { try reader.read(inode) { _ throws(EXT4Error) in } }
            } catch {
                guard error.code == .corrupt || error.code == .misuse else { throw error }
            }
        }
    }

    /// As `ls -R` and `diff` read it.
    private func walkTree(_ reader: ImageReader) throws {
        try TreeComparison(old: reader, new: reader).run { difference in
            throw FuzzRun.Failure("the image differs from itself at \(printableName(difference.path))")
        }
        do throws(EXT4Error) {
            _ = try reader.inode(atPath: Array("/indexed/name-17".utf8), followsLast: true)
        } catch {
            // Damage can have taken the path away.
            guard error.code == .notFound else { throw error }
        }
    }
}
