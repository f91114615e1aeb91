import Foundation
import Glibc
import Testing

@testable import EXT4

@Suite("what is refused")
struct RefusalTests {
    private func code(_ body: () throws -> Void) -> EXT4Error.Code? {
        do {
            try body()
            return nil
        } catch {
            return (error as? EXT4Error)?.code
        }
    }

    @Test("names that no entry can have")
    func names() throws {
        let image = try TestImage()
        let root = try image.root()
        for name in ["", ".", "..", "a/b", "a\0b", String(repeating: "x", count: 256)] {
            #expect(code { try image.directory(name, in: root) } == .invalidName)
        }
    }

    @Test("trees that are none")
    func trees() throws {
        let noRoot = try TestImage()
        #expect(code { _ = try noRoot.writer.finish() } == .invalidTree)
        let fileFirst = try TestImage()
        #expect(code { try fileFirst.file("x", in: .root) } == .invalidTree)

        let nameless = try TestImage()
        _ = try nameless.root()
        _ = try nameless.writer.addInode(Attributes(mode: 0o100644, modified: TestImage.time), .file(FileData()))
        #expect(code { _ = try nameless.writer.finish() } == .invalidTree)

        let loop = try TestImage()
        _ = try loop.root()
        let directory = Attributes(mode: 0o040755, modified: TestImage.time)
        let one = try loop.writer.addInode(directory, .directory)
        let other = try loop.writer.addInode(directory, .directory)
        try loop.writer.addEntry(parent: one, name: [1], child: other)
        try loop.writer.addEntry(parent: other, name: [1], child: one)
        #expect(code { _ = try loop.writer.finish() } == .invalidTree)

        let twice = try TestImage()
        let root = try twice.root()
        let twins = try twice.directory("a", in: root)
        #expect(code { try twice.writer.addEntry(parent: root, name: [2], child: twins) } == .tooManyLinks)
        #expect(code { try twice.writer.addEntry(parent: root, name: [2], child: root) } == .invalidTree)
        try twice.file("a", in: root)
        #expect(code { _ = try twice.writer.finish() } == .duplicateName)

        let inFile = try TestImage()
        let file = try inFile.file("file", in: try inFile.root())
        #expect(code { try inFile.file("x", in: file) } == .invalidTree)

        let lost = try TestImage()
        try lost.file("lost+found", in: try lost.root())
        #expect(code { _ = try lost.writer.finish() } == .invalidTree)
    }

    @Test("attributes that ext4 cannot hold")
    func attributes() throws {
        let image = try TestImage()
        let root = try image.root()
        func add(_ content: Content, _ mode: UInt16, _ xattrs: [(String, [UInt8])] = []) -> EXT4Error.Code? {
            code {
                let attributes = xattrs.map { ExtendedAttribute(name: Array($0.0.utf8), value: $0.1) }
                try image.add("x", content, mode: mode, in: root, xattrs: attributes)
            }
        }
        #expect(add(.fifo, 0o100644) == .invalidAttributes)
        #expect(add(.symlink(target: []), 0o120777) == .invalidAttributes)
        #expect(add(.symlink(target: [1, 0]), 0o120777) == .invalidAttributes)
        #expect(add(.symlink(target: Array(repeating: 65, count: 4096)), 0o120777) == .invalidAttributes)
        #expect(add(.characterDevice(major: 4096, minor: 0), 0o020600) == .invalidAttributes)
        #expect(add(.blockDevice(major: 0, minor: 1 << 20), 0o060600) == .invalidAttributes)
        for bad: [(String, [UInt8])] in [
            [("user.", [1])], [("nothing", [1])], [("os2.x", [1])], [("user.a", [1]), ("user.a", [2])],
            [("user.big", Array(repeating: 1, count: 65537))],
            [("user.\(String(repeating: "n", count: 256))", [1])],
            (0..<20).map { ("user.\($0)\(String(repeating: "n", count: 230))", [1]) },
            [("system.posix_acl_access", [1, 0, 0, 0])], [("system.posix_acl_access", [2, 0, 0, 0, 1])],
            [("system.posix_acl_default", [2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0])],
        ] {
            #expect(add(.file(FileData()), 0o100644, bad) == .invalidExtendedAttribute)
        }
    }

    @Test("calls in an order that makes no sense")
    func order() throws {
        let image = try TestImage()
        #expect(code { try image.append([1]) } == .misuse)
        #expect(code { _ = try image.writer.endFile() } == .misuse)
        image.writer.beginFile(expectedSize: 0)
        #expect(code { _ = try image.root() } == .misuse)
        image.writer.beginFile(expectedSize: 0)
        #expect(code { try image.append([1]) } == .misuse)

        let finished = try TestImage()
        let root = try finished.root()
        try finished.finishAndCheck()
        #expect(code { try finished.file("late", in: root) } == .misuse)
        #expect(code { _ = try finished.writer.finish() } == .misuse)
    }

    @Test("a file that grows past what ext4 can hold")
    func fileTooLarge() throws {
        let image = try TestImage()
        image.writer.beginFile(expectedSize: 0)
        try image.writer.appendHole(1 << 43)
        #expect(code { try image.writer.appendHole(1 << 43) } == .tooLarge)
        #expect(code { try image.writer.appendHole(.max) } == .tooLarge)
    }

    @Test("a file that is not empty, and formats that cannot be")
    func formats() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/file"
        let descriptor = open(path, O_RDWR | O_CREAT, 0o600)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        let good = Format(uuid: TestImage.uuid, hashSeed: TestImage.seed, timestamp: 0)
        var bad = good
        bad.uuid = [1]
        #expect(code { _ = try ImageWriter(fileDescriptor: descriptor, format: bad) } == .misuse)
        bad = good
        bad.label = Array(repeating: 65, count: 17)
        #expect(code { _ = try ImageWriter(fileDescriptor: descriptor, format: bad) } == .misuse)
        bad = good
        bad.size = 9 << 40
        #expect(code { _ = try ImageWriter(fileDescriptor: descriptor, format: bad) } == .tooLarge)
        #expect(write(descriptor, "x", 1) == 1)
        #expect(code { _ = try ImageWriter(fileDescriptor: descriptor, format: good) } == .misuse)
        #expect(code { _ = try ImageWriter(fileDescriptor: -1, format: good) } == .io)
    }

    @Test("what a killed writer leaves behind is no file system")
    func killed() throws {
        let image = try TestImage()
        _ = try image.store(Array(repeating: 7, count: 3 << 20))
        let root = try image.root()
        try image.directory("directory", in: root)
        #expect(try run(["dumpe2fs", "-h", image.path]).status != 0)
    }
}
