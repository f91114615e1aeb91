import Foundation
import Glibc
import TestSupport
import Testing

@testable import EXT4

/// A tree of everything, grown from a seed: written into an image, and compared with what the kernel shows of it.
struct RandomTree {
    enum Kind {
        /// Runs of data (positive) and holes (negative), in bytes.
        case file(runs: [Int])
        case directory
        case symlink([UInt8])
        case characterDevice(UInt32, UInt32)
        case blockDevice(UInt32, UInt32)
        case fifo
        case socket
    }

    struct Node {
        var kind: Kind
        var attributes: Attributes
        /// Positions of parents, with names; more than one for hard links.
        var names: [(parent: Int, name: [UInt8])] = []
        var contentSeed: UInt64 = 0
        var path: [UInt8] = []
    }

    private(set) var nodes: [Node] = []
    private var generator: SeededGenerator

    init(seed: UInt64, count: Int) {
        generator = SeededGenerator(seed: seed)
        nodes.append(Node(kind: .directory, attributes: attributes(type: 0o040000, links: true)))
        var directories = [0]
        var used: [Set<[UInt8]>] = [[Array("lost+found".utf8)]]
        for index in 1..<count {
            var node = randomNode()
            let parent = directories[Int.random(in: 0..<directories.count, using: &generator)]
            node.names = [(parent, newName(&used[parent]))]
            node.path = nodes[parent].path + [UInt8(ascii: "/")] + node.names[0].name
            node.contentSeed = generator.next()
            used.append([])
            if case .directory = node.kind {
                directories.append(index)
            } else {
                while Int.random(in: 0..<10, using: &generator) == 0 {
                    let other = directories[Int.random(in: 0..<directories.count, using: &generator)]
                    node.names.append((other, newName(&used[other])))
                }
            }
            nodes.append(node)
        }
    }

    private mutating func newName(_ used: inout Set<[UInt8]>) -> [UInt8] {
        while true {
            let long = Int.random(in: 0..<20, using: &generator) == 0
            let name = generator.bytes(Int.random(in: long ? 200...255 : 1...20, using: &generator)).map {
                $0 == 0 || $0 == UInt8(ascii: "/") ? UInt8(ascii: "_") : $0
            }
            if name != Array(".".utf8), name != Array("..".utf8), used.insert(name).inserted { return name }
        }
    }

    private mutating func randomNode() -> Node {
        switch Int.random(in: 0..<20, using: &generator) {
        case 0..<10:
            return Node(kind: .file(runs: randomRuns()), attributes: attributes(type: 0o100000, links: true))
        case 10..<14: return Node(kind: .directory, attributes: attributes(type: 0o040000, links: true))
        case 14..<16:
            let long = Int.random(in: 0..<4, using: &generator) == 0
            let target = generator.bytes(Int.random(in: long ? 1...4095 : 1...80, using: &generator))
            return Node(
                kind: .symlink(target.map { $0 == 0 ? 1 : $0 }), attributes: attributes(type: 0o120000, links: false))
        case 16:
            return Node(
                kind: .characterDevice(
                    .random(in: 0..<4096, using: &generator), .random(in: 0..<300, using: &generator)),
                attributes: attributes(type: 0o020000, links: false))
        case 17:
            return Node(
                kind: .blockDevice(
                    .random(in: 0..<300, using: &generator), .random(in: 0..<(1 << 20), using: &generator)),
                attributes: attributes(type: 0o060000, links: false))
        case 18: return Node(kind: .fifo, attributes: attributes(type: 0o010000, links: false))
        default: return Node(kind: .socket, attributes: attributes(type: 0o140000, links: false))
        }
    }

    private mutating func randomRuns() -> [Int] {
        let count = Int.random(in: 0..<5, using: &generator)
        return (0..<count).map { _ in
            let largest = [10, 5000, 70_000, 200_000][Int.random(in: 0..<4, using: &generator)]
            let run = Int.random(in: 1...largest, using: &generator)
            return Int.random(in: 0..<4, using: &generator) == 0 ? -run : run
        }
    }

    /// `user.` attributes are for files and directories only: the kernel shows them of nothing else.
    private mutating func attributes(type: UInt16, links user: Bool) -> Attributes {
        var xattrs: [ExtendedAttribute] = []
        if Int.random(in: 0..<4, using: &generator) == 0 {
            let spaces = user ? ["user.", "trusted.", "security."] : ["trusted.", "security."]
            var names: Set<[UInt8]> = []
            for _ in 0..<Int.random(in: 1..<6, using: &generator) {
                let space = spaces[Int.random(in: 0..<spaces.count, using: &generator)]
                let name = Array(space.utf8) + generator.bytes(.random(in: 1...30, using: &generator)).map { $0 | 1 }
                guard names.insert(name).inserted else { continue }
                let large = Int.random(in: 0..<3, using: &generator) == 0
                let value = generator.bytes(Int.random(in: large ? 0...600 : 0...30, using: &generator))
                xattrs.append(ExtendedAttribute(name: name, value: value))
            }
        }
        return Attributes(
            mode: type | .random(in: 0...0o7777, using: &generator), uid: .random(in: 0..<(.max), using: &generator),
            gid: .random(in: 0..<(.max), using: &generator),
            // Not from 2310 to 2378, which e2fsck takes for a date before 1970.
            modified: Timestamp(
                seconds: .random(in: -(1 << 31)..<10_737_418_240, using: &generator),
                nanoseconds: .random(in: 0..<1_000_000_000, using: &generator)), xattrs: xattrs)
    }

    // MARK: - Writing

    func write(to image: TestImage) throws {
        let writer = image.writer
        var stored: [Int: FileData] = [:]
        for (index, node) in nodes.enumerated() {
            guard case .file(let runs) = node.kind else { continue }
            var content = SeededGenerator(seed: node.contentSeed)
            writer.beginFile(expectedSize: UInt64(runs.reduce(0) { $0 + abs($1) }))
            for run in runs {
                if run < 0 {
                    try writer.appendHole(UInt64(-run))
                } else {
                    try image.append(content.bytes(run), piece: 30_000)
                }
            }
            stored[index] = try writer.endFile()
            if index % 7 == 0 {
                try writer.discard(try image.store(Array(repeating: 0xDD, count: index * 13)))
            }
        }
        var numbers: [InodeNumber] = []
        for (index, node) in nodes.enumerated() {
            let content: Content =
                switch node.kind {
                case .file: .file(stored[index] ?? FileData())
                case .directory: .directory
                case .symlink(let target): .symlink(target: target)
                case .characterDevice(let major, let minor): .characterDevice(major: major, minor: minor)
                case .blockDevice(let major, let minor): .blockDevice(major: major, minor: minor)
                case .fifo: .fifo
                case .socket: .socket
                }
            numbers.append(try writer.addInode(node.attributes, content))
            for (parent, name) in node.names {
                try writer.addEntry(parent: numbers[parent], name: name, child: numbers[index])
            }
        }
    }

    // MARK: - Comparing

    func compare(with point: String) throws {
        var numbers: [Int: UInt64] = [:]
        var entries = Array(repeating: 0, count: nodes.count)
        var subdirectories = entries
        for node in nodes {
            for (parent, _) in node.names { entries[parent] += 1 }
            if case .directory = node.kind, let parent = node.names.first?.parent { subdirectories[parent] += 1 }
        }
        // lost+found is nobody's node.
        entries[0] += 1
        subdirectories[0] += 1
        for (index, node) in nodes.enumerated() {
            let path = Array(point.utf8) + (index == 0 ? Array("/".utf8) : node.path)
            var status = stat()
            let found = withPath(path) { lstat($0, &status) } == 0
            guard found else {
                Issue.record("node \(index) is missing")
                continue
            }
            numbers[index] = UInt64(status.st_ino)
            compare(status, node, index, subdirectories: subdirectories[index])
            compareAttributes(path, node, index)
            try compareContent(path, status, node, index, entries: entries[index])
            for (parent, name) in node.names.dropFirst() {
                var other = stat()
                let linked = Array(point.utf8) + nodes[parent].path + [UInt8(ascii: "/")] + name
                #expect(withPath(linked) { lstat($0, &other) } == 0 && other.st_ino == status.st_ino)
            }
        }
        #expect(Set(numbers.values).count == nodes.count)
    }

    private func compare(_ status: stat, _ node: Node, _ index: Int, subdirectories: Int) {
        let wanted = node.attributes
        #expect(status.st_mode == UInt32(wanted.mode), "mode of node \(index)")
        #expect(status.st_uid == wanted.uid && status.st_gid == wanted.gid, "owner of node \(index)")
        #expect(
            Int64(status.st_mtim.tv_sec) == wanted.modified.seconds
                && status.st_mtim.tv_nsec == Int(wanted.modified.nanoseconds), "time of node \(index)")
        if case .directory = node.kind {
            #expect(Int(status.st_nlink) == 2 + subdirectories, "links of node \(index)")
        } else {
            #expect(Int(status.st_nlink) == node.names.count, "links of node \(index)")
        }
    }

    private func compareAttributes(_ path: [UInt8], _ node: Node, _ index: Int) {
        #expect(listAttributes(path) == Set(node.attributes.xattrs.map(\.name)), "attributes of node \(index)")
        for attribute in node.attributes.xattrs {
            #expect(readAttribute(path, attribute.name) == attribute.value, "an attribute of node \(index)")
        }
    }

    private func compareContent(
        _ path: [UInt8], _ status: stat, _ node: Node, _ index: Int, entries: Int
    ) throws {
        switch node.kind {
        case .file(let runs):
            var content = SeededGenerator(seed: node.contentSeed)
            let wanted = runs.flatMap { $0 < 0 ? [UInt8](repeating: 0, count: -$0) : content.bytes($0) }
            #expect(Int(status.st_size) == wanted.count, "size of node \(index)")
            let descriptor = withPath(path) { open($0, O_RDONLY) }
            try #require(descriptor >= 0)
            defer { close(descriptor) }
            var found = [UInt8](repeating: 0xEE, count: wanted.count)
            #expect(read(descriptor, &found, wanted.count) == wanted.count)
            #expect(found == wanted, "content of node \(index)")
        case .symlink(let target): #expect(readLink(path) == target, "target of node \(index)")
        case .characterDevice(let major, let minor), .blockDevice(let major, let minor):
            #expect(deviceMajor(status.st_rdev) == major && deviceMinor(status.st_rdev) == minor)
        case .directory:
            let listed = try FileManager.default.contentsCount(path)
            #expect(listed == entries + 2, "entries of node \(index)")
        case .fifo, .socket: break
        }
    }
}

extension FileManager {
    /// How many entries a directory has, "." and ".." among them.
    fileprivate func contentsCount(_ path: [UInt8]) throws -> Int {
        let directory = try #require(withPath(path) { opendir($0) })
        defer { closedir(directory) }
        var count = 0
        while readdir(directory) != nil { count += 1 }
        return count
    }
}

@Suite("random trees")
struct RandomTreeTests {
    @Test("what the kernel shows of a random tree is what was asked for", arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
    func tree(seed: UInt64) throws {
        let count = [30, 300, 3000][Int(seed % 3)]
        print("random tree: seed \(seed), \(count) nodes")
        let tree = RandomTree(seed: seed, count: count)
        let image = try TestImage(size: seed % 2 == 0 ? 500 << 20 : nil)
        try tree.write(to: image)
        let summary = try image.finishAndCheck()
        #expect(summary.usedInodes == UInt32(count) + 10)
        try image.mounted { try tree.compare(with: $0) }
        #expect(try TestImage.checkFreeBlocks(image.path) == Int(summary.freeBlocks))
        let again = try TestImage(size: seed % 2 == 0 ? 500 << 20 : nil)
        try tree.write(to: again)
        #expect(try again.writer.finish() == summary)
        #expect(try run(["cmp", image.path, again.path]).status == 0)
    }
}
