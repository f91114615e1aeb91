import TestSupport

/// Archives that use every format there is, and what can go wrong with their bytes.
enum Damage {
    /// Layers, the bottom one first.
    static let sample: [[UInt8]] = {
        let stack: [[Member]] = [
            [
                .directory("./"), .directory("a", mode: 0o1777), .file("a/x", "content"), .hardLink("a/y", to: "a/x"),
                .symlink("l", to: "a"), .file("l/through", "1"), Member("null", .character(1, 3)), Member("p", .fifo),
                Member("big", .file([UInt8](repeating: 7, count: 5000))),
            ],
            [
                .file("a/x", "upper").with { $0.xattrs = ["user.k": [1, 2], "security.s": [3]] }, .mark("a/.wh.y"),
                .hardLink("big2", to: "big"), .file("b/c/d/e").with { $0.seconds = -7 }, .mark(".wh.big"),
            ],
            [.mark("b/.wh..wh..opq"), .file("b/new", "n"), .file("a/x"), .hardLink("a/z", to: "a/x"), .directory("l")],
        ]
        let holes = [UInt8](repeating: 0, count: 4608) + [UInt8](repeating: 9, count: 700)
        return stack.map { members in
            TarBuilder.archive { tar in
                tar.pax([("comment", "global"), ("SCHILY.xattr.security.g", "1")], type: "g")
                for member in members { member.write(to: &tar) }
                for format in SparseFormat.allCases {
                    Member("s-\(format)", .file(holes)).with {
                        $0.sparse = format
                        $0.format = format == .oldGNU ? .gnu : .pax
                    }.write(to: &tar)
                }
                Member("a/" + String(repeating: "long", count: 40), .file([1])).with { $0.format = .gnu }
                    .write(to: &tar)
                Member("a/" + String(repeating: "go", count: 60) + "/n", .file([1])).with { $0.format = .go }
                    .write(to: &tar)
                tar.pax([("SCHILY.acl.access", "user::rwx,user:5:r,group::r,mask::r,other::-"), ("mtime", "-3.25")])
                tar.file("acl")
            }
        }
    }()

    /// Changes an archive where that hurts: fields of headers, whole blocks.
    static func archive(_ bytes: inout [UInt8], _ generator: inout SeededGenerator) {
        if bytes.count < 512 { bytes += [UInt8](repeating: 0, count: 512) }
        let block = generator.number(0...(bytes.count / 512 - 1)) * 512
        let position = block + generator.number(0...511)
        switch generator.number(0...8) {
        case 0: bytes[position] = generator.byte()
        case 1: bytes[position] ^= 1 << UInt8(generator.number(0...7))
        case 2: bytes[block + 156] = generator.pick(Array("0123456789xgLKSDX\0".utf8))
        case 3:
            // Numbers of the header, of an old GNU map, and of the blocks that go on with it.
            let field = generator.pick([0, 12, 24, 100, 108, 116, 124, 136, 329, 337, 386, 398, 410, 483])
            let value: Int64 = generator.pick([0, 1, 511, 513, 4096, 1 << 31, 1 << 33, .max, -1, .min])
            bytes.replaceSubrange((block + field)..<(block + field + 12), with: TarBuilder.field(value, 12))
        case 4: bytes.removeSubrange(block..<(block + 512))
        case 5: bytes.insert(contentsOf: bytes[block..<(block + 512)], at: block)
        case 6: bytes.removeSubrange(position...)
        case 7:
            // A digit of a number that is text: lengths of PAX records, maps, sizes.
            let digits = bytes[block..<(block + 512)].indices.filter { (0x30...0x39).contains(bytes[$0]) }
            if !digits.isEmpty { bytes[generator.pick(digits)] = generator.pick(Array("0123456789-., \n".utf8)) }
        default:
            let other = generator.number(0...(bytes.count / 512 - 1)) * 512
            bytes.replaceSubrange(block..<(block + 512), with: Array(bytes[other..<(other + 512)]))
        }
    }

    /// Makes every block that was a header one again, so that damage gets past the checksum.
    static func repairSums(_ bytes: inout [UInt8]) {
        for block in stride(from: 0, to: bytes.count - 511, by: 512) {
            guard bytes[(block + 257)..<(block + 262)].elementsEqual("ustar".utf8) else { continue }
            bytes.replaceSubrange((block + 148)..<(block + 156), with: [UInt8](repeating: 0x20, count: 8))
            let sum = bytes[block..<(block + 512)].reduce(Int64(0)) { $0 + Int64($1) }
            bytes.replaceSubrange((block + 148)..<(block + 156), with: TarBuilder.field(sum, 7) + [0x20])
        }
    }

    /// Changes compressed data, in half of the cases near an end, where headers and checksums are.
    static func stream(_ bytes: inout [UInt8], _ generator: inout SeededGenerator) {
        guard !bytes.isEmpty else { return }
        let position =
            switch generator.number(0...3) {
            case 0: generator.number(0...min(40, bytes.count - 1))
            case 1: bytes.count - 1 - generator.number(0...min(40, bytes.count - 1))
            default: generator.number(0...(bytes.count - 1))
            }
        switch generator.number(0...5) {
        case 0, 1: bytes[position] ^= 1 << UInt8(generator.number(0...7))
        case 2: bytes.remove(at: position)
        case 3: bytes.insert(generator.byte(), at: position)
        case 4: bytes.replaceSubrange(position..., with: bytes[position...].map { _ in generator.byte() }.prefix(8))
        default: bytes.removeSubrange(position...)
        }
    }
}
