import Foundation
import Glibc
import Synchronization
import Testing

@testable import Files

struct FilesTests {
    private let directory = NSTemporaryDirectory() + "snapwf-files-\(UUID().uuidString)"

    private func inDirectory(_ body: (String) throws -> Void) throws {
        try makeDirectories(directory, mode: 0o700)
        defer { try? removeTree(directory) }
        try body(directory)
    }

    @Test("a replaced file is the old one or the new one, and leaves no partial file")
    func replace() throws {
        try inDirectory { directory in
            let path = directory + "/file"
            try replaceFile(path, Array("old".utf8), mode: 0o600)
            try replaceFile(path, Array("new".utf8), mode: 0o600)
            #expect(try readFile(path, limit: 3) == Array("new".utf8))
            #expect(try directoryNames(directory) == ["file"])
        }
    }

    @Test("no file reads as nil, a directory and a file that is too large as an error")
    func read() throws {
        try inDirectory { directory in
            #expect(try readFile(directory + "/none", limit: 10) == nil)
            try writeFile(directory + "/large", Array(repeating: 0, count: 11), mode: 0o600)
            #expect(throws: FileError.self) { try readFile(directory + "/large", limit: 10) }
            #expect(throws: FileError.self) { try readFile(directory, limit: 10) }
        }
    }

    @Test("a tree with closed directories and links that lead out of it is removed, what they name is not")
    func remove() throws {
        try inDirectory { directory in
            try makeDirectories(directory + "/a/b/c", mode: 0o700)
            try writeFile(directory + "/kept", [1], mode: 0o600)
            #expect(symlink(directory + "/kept", directory + "/a/b/link") == 0)
            chmod(directory + "/a/b", 0)
            try removeTree(directory + "/a")
            #expect(try directoryNames(directory) == ["kept"])
            try removeTree(directory + "/a")
        }
    }

    @Test("the data of a file is found between its holes, and none behind its end")
    func dataRanges() throws {
        try inDirectory { directory in
            let file = try OpenFile(directory + "/file", O_RDWR | O_CREAT, mode: 0o600)
            let data = [UInt8](repeating: 1, count: 8192)
            try data.withUnsafeBytes { try file.write($0, at: 1 << 20) }
            try data.withUnsafeBytes { try file.write($0, at: 8 << 20) }
            #expect(ftruncate(file.descriptor, 16 << 20) == 0)
            var ranges = DataRanges(of: file.descriptor, path: file.path, size: (8 << 20) + 100)
            var found: [Range<Int>] = []
            while let range = try ranges.next() { found.append(range) }
            // A file system may keep more than was written, but not everything: that would make the copy slow.
            #expect(found.count == 2)
            #expect(found.first.map { $0.contains(1 << 20) && $0.count < 1 << 20 } == true)
            #expect(found.last == (8 << 20)..<((8 << 20) + 100))
        }
    }

    @Test("a sparse copy has the same bytes and the same holes")
    func sparse() throws {
        try inDirectory { directory in
            let source = directory + "/source"
            let file = try OpenFile(source, O_RDWR | O_CREAT, mode: 0o600)
            let data = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            try data.withUnsafeBytes { try file.write($0, at: 40 << 20) }
            #expect(ftruncate(file.descriptor, 100 << 20) == 0)
            try copySparseFile(source, to: directory + "/copy")
            let copy = try OpenFile(directory + "/copy", O_RDONLY)
            let status = try copy.status()
            #expect(status.st_size == 100 << 20)
            #expect(status.st_blocks * 512 < 1 << 20, "the holes were filled")
            var read = [UInt8](repeating: 0, count: data.count)
            let count = try read.withUnsafeMutableBytes { try copy.read(into: $0, at: 40 << 20) }
            #expect(count == data.count && read == data)
            #expect(try directoryNames(directory) == ["copy", "source"])
        }
    }

    @Test("of two writers of one path the second is refused, and what the first made stays whole")
    func twoWriters() throws {
        try inDirectory { directory in
            let path = directory + "/file"
            try writeFile(directory + "/source", Array("second".utf8), mode: 0o600)
            do {
                let first = try PartialFile(for: path)
                try first.file.write(Array("first".utf8))
                let error = #expect(throws: FileError.self) { try copySparseFile(directory + "/source", to: path) }
                #expect(error?.description.contains("another process is writing") == true)
                try first.publish()
            }
            #expect(try readFile(path, limit: 10) == Array("first".utf8))
            try copySparseFile(directory + "/source", to: path)
            #expect(try readFile(path, limit: 10) == Array("second".utf8))
            #expect(try directoryNames(directory) == ["file", "source"])
        }
    }

    @Test("what a killed writer left is written anew")
    func leftPartialFile() throws {
        try inDirectory { directory in
            try writeFile(directory + "/file.partial", Array("left, and longer".utf8), mode: 0o600)
            let file = try PartialFile(for: directory + "/file")
            try file.file.write(Array("new".utf8))
            try file.publish()
            #expect(try readFile(directory + "/file", limit: 20) == Array("new".utf8))
        }
    }

    @Test("an error names what was tried, on what, and why")
    func error() {
        let error = #expect(throws: FileError.self) { try OpenFile("/no/such/file", O_RDONLY).sync() }
        #expect(error?.description == "cannot open /no/such/file: No such file or directory")
    }

    @Test("blocking work on threads of its own does not starve the pool")
    func threads() async {
        let sum = await withTaskGroup(of: Int.self) { group in
            for number in 0..<50 {
                group.addTask {
                    await onOwnThread {
                        usleep(10_000); return number
                    }
                }
            }
            return await group.reduce(0, +)
        }
        #expect(sum == 1225)
    }

    @Test("what the work holds is free when the caller goes on")
    func letGo() async {
        final class Held: Sendable {
            let freed: Counter
            init(_ freed: Counter) { self.freed = freed }
            deinit { freed.count.add(1, ordering: .relaxed) }
        }
        final class Counter: Sendable { let count = Atomic(0) }
        func holding(_ freed: Counter) -> @Sendable () -> Void {
            let held = Held(freed)
            return { #expect(held.freed === freed) }
        }
        let freed = Counter()
        for round in 1...500 {
            await onOwnThread(holding(freed))
            #expect(freed.count.load(ordering: .relaxed) == round)
        }
    }
}
