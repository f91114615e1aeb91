import EXT4
import Testing

@testable import RootFS

@Suite("Tar")
struct TarReaderTests {
    @Test("a ustar name may be split in a prefix and a name")
    func prefix() throws {
        let entries = try readEntries(
            TarBuilder.archive { tar in
                tar.header(.init(name: Array("name".utf8), patches: [345: Array("some/dir".utf8)]))
                tar.header(.init(name: Array("old".utf8), isGNU: true, patches: [345: Array("12345".utf8)]))
                // star has its times behind a shorter prefix.
                tar.header(
                    .init(
                        name: Array("s".utf8),
                        patches: [
                            345: Array("dir".utf8), 476: Array("00000000001 ".utf8), 508: Array("tar\0".utf8),
                        ]))
                tar.header(.init(name: Array("v7/".utf8), patches: [156: [0], 257: [0, 0, 0, 0, 0, 0, 0, 0]]))
            })
        #expect(entries.map(\.name) == ["some/dir/name", "old", "dir/s", "v7/"])
        #expect(entries.last?.entry.kind == .directory)
    }

    @Test("GNU long names and links hold for the next entry only")
    func gnuLongNames() throws {
        let long = String(repeating: "n", count: 200)
        let entries = try readEntries(
            TarBuilder.archive { tar in
                tar.header(.init(name: Array("././@LongLink".utf8), type: "L", size: 201, isGNU: true))
                tar.payload(Array(long.utf8) + [0])
                tar.header(.init(name: Array("././@LongLink".utf8), type: "K", size: 201, isGNU: true))
                tar.payload(Array(long.uppercased().utf8) + [0])
                tar.header(.init(name: Array("short".utf8), type: "2", link: Array("cut".utf8), isGNU: true))
                tar.file("next")
            })
        #expect(entries.map(\.name) == [long, "next"])
        #expect(entries[0].entry.kind == .symbolicLink(target: Array(long.uppercased().utf8)))
    }

    @Test("PAX records win over the ustar header, and hold for one entry")
    func paxOverUstar() throws {
        let entries = try readEntries(
            TarBuilder.archive { tar in
                tar.pax([
                    ("path", "the/real/name"), ("size", "5"), ("uid", "4294967294"), ("gid", "70000"),
                    ("mtime", "1700000000.123456789"), ("comment", "nothing"), ("VENDOR.key", "x"),
                ])
                tar.header(.init(name: Array("cut".utf8), size: 0, uid: 1, gid: 2, mtime: 3))
                tar.payload(Array("12345".utf8))
                tar.file("next", [1])
            })
        let first = entries[0].entry
        #expect(entries.map(\.name) == ["the/real/name", "next"])
        #expect(entries[0].content == Array("12345".utf8))
        #expect(first.uid == 4_294_967_294 && first.gid == 70_000)
        #expect(first.modified == Timestamp(seconds: 1_700_000_000, nanoseconds: 123_456_789))
        #expect(entries[1].entry.uid == 0 && entries[1].content == [1])
    }

    @Test("global PAX headers hold for all that follow until taken back")
    func globalHeaders() throws {
        let entries = try readEntries(
            TarBuilder.archive { tar in
                tar.pax([("uid", "77"), ("mtime", "5.5"), ("SCHILY.xattr.user.all", "yes")], type: "g")
                tar.file("a")
                tar.pax([("uid", "78")])
                tar.file("b")
                tar.pax([("uid", "")])
                tar.file("c")
                tar.pax([("uid", "")], type: "g")
                tar.file("d")
            })
        #expect(entries.map(\.entry.uid) == [77, 78, 0, 0])
        #expect(entries.allSatisfy { $0.entry.modified == Timestamp(seconds: 5, nanoseconds: 500_000_000) })
        #expect(entries.allSatisfy { $0.entry.xattrs.count == 1 })
    }

    @Test(
        "PAX times are exact, before 1970 too",
        arguments: [
            ("0", 0, 0), ("-1", -1, 0), ("-1.5", -2, 500_000_000), ("-0.000000001", -1, 999_999_999),
            ("1.", 1, 0), ("1.9999999999", 1, 999_999_999), ("4294967296.1", 4_294_967_296, 100_000_000),
            ("-2147483648.0", -2_147_483_648, 0),
        ] as [(String, Int64, UInt32)])
    func times(text: String, seconds: Int64, nanoseconds: UInt32) {
        #expect(paxTime(Array(text.utf8)) == Timestamp(seconds: seconds, nanoseconds: nanoseconds))
    }

    @Test(
        "PAX times that are none are refused",
        arguments: ["", ".5", "1e5", "-", "--1", "1.2.3", " 1", "99999999999999999999"])
    func badTimes(text: String) {
        #expect(paxTime(Array(text.utf8)) == nil)
    }

    @Test("numbers may be in base 256, negative times too")
    func base256() throws {
        let entries = try readEntries(
            TarBuilder.archive { tar in
                tar.header(.init(name: Array("a".utf8), uid: 4_000_000_000, gid: 2_097_152, mtime: -86_400))
                tar.header(.init(name: Array("b".utf8), mtime: 1 << 34))
                tar.header(
                    .init(
                        name: Array("c".utf8), patches: [124: [0x80] + [UInt8](repeating: 0, count: 9) + [0x01, 0x00]]))
                tar.payload([UInt8](repeating: 7, count: 256))
            })
        #expect(entries[0].entry.uid == 4_000_000_000 && entries[0].entry.gid == 2_097_152)
        #expect(entries[0].entry.modified.seconds == -86_400)
        #expect(entries[1].entry.modified.seconds == 1 << 34)
        #expect(entries[2].content.count == 256)
    }

    @Test("octal fields may be padded with spaces or NULs at either side, or be empty")
    func octalPadding() throws {
        let entries = try readEntries(
            TarBuilder.archive { tar in
                tar.header(
                    .init(
                        name: Array("a".utf8),
                        patches: [
                            100: Array("  755 \0\0".utf8), 108: [UInt8](repeating: 0, count: 8),
                            116: [UInt8](repeating: 0x20, count: 8), 136: Array("00000000012\0".utf8),
                        ]))
            })
        #expect(entries[0].entry.mode == 0o755)
        #expect(entries[0].entry.modified.seconds == 10)
    }

    @Test("a header's sum may be of signed bytes, as historic tars have it")
    func signedSum() throws {
        var tar = TarBuilder()
        tar.header(.init(name: [0xC3, 0xA9, 0xFF]))
        let sum = tar.bytes.enumerated().reduce(0) {
            $0 + ((148..<156).contains($1.offset) ? 0x20 : Int(Int8(bitPattern: $1.element)))
        }
        tar.bytes.replaceSubrange(148..<156, with: TarBuilder.field(Int64(sum), 7) + [0x20])
        #expect(try readEntries(tar.finished())[0].entry.path == [0xC3, 0xA9, 0xFF])
    }

    @Test("types without a payload have none, whatever their size says")
    func headerOnlyTypes() throws {
        let entries = try readEntries(
            TarBuilder.archive { tar in
                for type: Character in ["1", "2", "5", "6"] {
                    tar.header(
                        .init(name: Array("n\(type)".utf8), type: type, size: 4096, link: Array("x".utf8)))
                }
                tar.file("last", [1, 2])
            })
        #expect(entries.map(\.name) == ["n1", "n2", "n5", "n6", "last"])
    }

    @Test("payloads that nobody reads are skipped")
    func skipping() throws {
        let layer = Layer(DecodingTests.archive, .gzip)
        #expect(try readEntries(layer, skippingPayloads: true).count == 40)
    }

    @Test("xattrs come raw from SCHILY records and encoded from libarchive's")
    func xattrs() throws {
        let entries = try readEntries(
            TarBuilder.archive { tar in
                tar.pax([
                    ("SCHILY.xattr.user.raw", [0, 1, 0xFF, 0x0A]),
                    ("SCHILY.xattr.user.empty", []),
                    ("LIBARCHIVE.xattr.user.b%20c", Array("aGVsbG8".utf8)),
                    ("LIBARCHIVE.xattr.user.raw", Array("aGVsbG8=".utf8)),
                ])
                tar.file("a")
            })
        #expect(
            entries[0].entry.xattrs == [
                ExtendedAttribute(name: Array("user.b c".utf8), value: Array("hello".utf8)),
                ExtendedAttribute(name: Array("user.empty".utf8), value: []),
                ExtendedAttribute(name: Array("user.raw".utf8), value: [0, 1, 0xFF, 0x0A]),
            ])
    }

    @Test("devices keep their numbers, from the header or from star's records")
    func devices() throws {
        let entries = try readEntries(
            TarBuilder.archive { tar in
                tar.header(.init(name: Array("c".utf8), type: "3", major: 1, minor: 3))
                tar.header(.init(name: Array("b".utf8), type: "4", major: 4095, minor: 1_048_575))
                tar.pax([("SCHILY.devmajor", "8"), ("SCHILY.devminor", "1000000")])
                tar.header(.init(name: Array("d".utf8), type: "4"))
            })
        #expect(
            entries.map(\.entry.kind) == [
                .characterDevice(major: 1, minor: 3), .blockDevice(major: 4095, minor: 1_048_575),
                .blockDevice(major: 8, minor: 1_000_000),
            ])
    }
}

@Suite("Sparse files in tar")
struct SparseTests {
    private static let map: [(UInt64, UInt64)] = [(0, 3), (1000, 5), (4096, 600), (10_000, 0)]
    private static let stored = (0..<608).map { UInt8(truncatingIfNeeded: $0 | 1) }

    private static var content: [UInt8] {
        var content = [UInt8](repeating: 0, count: 10_000)
        var position = 0
        for (offset, length) in map {
            for index in 0..<Int(length) { content[Int(offset) + index] = stored[position + index] }
            position += Int(length)
        }
        return content
    }

    private func check(_ build: (inout TarBuilder) -> Void) throws {
        let entries = try readEntries(
            TarBuilder.archive { tar in
                build(&tar)
                tar.file("after", [42])
            })
        #expect(entries.count == 2)
        #expect(entries[0].name == "sparse")
        #expect(entries[0].content == Self.content)
        #expect(entries[0].holes == 10_000 - 608)
        #expect(entries[1].content == [42])
    }

    @Test("format 0.0 repeats a pair of records")
    func format00() throws {
        try check { tar in
            var records = [("GNU.sparse.size", "10000"), ("GNU.sparse.numblocks", "4")]
            for (offset, length) in Self.map {
                records += [("GNU.sparse.offset", "\(offset)"), ("GNU.sparse.numbytes", "\(length)")]
            }
            tar.pax(records)
            tar.header(.init(name: Array("sparse".utf8), size: 608))
            tar.payload(Self.stored)
        }
    }

    @Test("format 0.1 has the map in one record")
    func format01() throws {
        try check { tar in
            let map = Self.map.map { "\($0.0),\($0.1)" }.joined(separator: ",")
            tar.pax([
                ("GNU.sparse.size", "10000"), ("GNU.sparse.numblocks", "4"), ("GNU.sparse.map", map),
                ("GNU.sparse.name", "sparse"),
            ])
            tar.header(.init(name: Array("GNUSparseFile.1/sparse".utf8), size: 608))
            tar.payload(Self.stored)
        }
    }

    @Test("format 1.0 has the map in front of the data")
    func format10() throws {
        try check { tar in
            let lines = "4\n" + Self.map.map { "\($0.0)\n\($0.1)\n" }.joined()
            let padded = Array(lines.utf8) + [UInt8](repeating: 0, count: 512 - lines.utf8.count)
            tar.pax([
                ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "sparse"),
                ("GNU.sparse.realsize", "10000"),
            ])
            tar.header(.init(name: Array("GNUSparseFile.1/sparse".utf8), size: UInt64(512 + 608)))
            tar.payload(padded + Self.stored)
        }
    }

    @Test("the old GNU format has the map in the header, and more of it in blocks that follow")
    func oldGNU() throws {
        try check { tar in
            var patches: [Int: [UInt8]] = [483: TarBuilder.field(10_000, 12)]
            for (index, segment) in Self.map.enumerated() {
                patches[386 + index * 24] = TarBuilder.field(Int64(segment.0), 12)
                patches[398 + index * 24] = TarBuilder.field(Int64(segment.1), 12)
            }
            tar.header(.init(name: Array("sparse".utf8), type: "S", size: 608, isGNU: true, patches: patches))
            tar.payload(Self.stored)
        }
        // One byte at each of 30 offsets: 4 segments in the header, 21 and 5 in blocks of their own.
        let entries = try readEntries(
            TarBuilder.archive { tar in
                var patches: [Int: [UInt8]] = [483: TarBuilder.field(30_000, 12), 482: [1]]
                for index in 0..<4 {
                    patches[386 + index * 24] = TarBuilder.field(Int64(index * 1000), 12) + TarBuilder.field(1, 12)
                }
                tar.header(.init(name: Array("many".utf8), type: "S", size: 30, isGNU: true, patches: patches))
                for first in [4, 25] {
                    var block: [UInt8] = []
                    for index in first..<min(first + 21, 30) {
                        block += TarBuilder.field(Int64(index * 1000), 12) + TarBuilder.field(1, 12)
                    }
                    block += [UInt8](repeating: 0, count: 504 - block.count) + [first == 4 ? 1 : 0]
                    tar.payload(block)
                }
                tar.payload([UInt8](repeating: 7, count: 30))
            })
        #expect(entries[0].content.count == 30_000)
        #expect(entries[0].content.enumerated().allSatisfy { $0.element == ($0.offset % 1000 == 0 ? 7 : 0) })
    }

    @Test(
        "sparse maps that cannot be meant are refused",
        arguments: [
            "10,5,0,5", "0,5,4,5", "0,9000,9000,9000", "0,3", "0,3,1000", "18446744073709551615,2", "0,x",
        ])
    func badMaps(map: String) {
        let error = failure { () throws(RootFSError) in
            _ = try readEntries(
                TarBuilder.archive { tar in
                    tar.pax([("GNU.sparse.size", "10000"), ("GNU.sparse.map", map)])
                    tar.header(.init(name: Array("sparse".utf8), size: 10))
                    tar.payload([UInt8](repeating: 1, count: 10))
                })
        }
        #expect(error?.code == .archive, "\(map): \(String(describing: error))")
        #expect(error?.entry == "sparse")
    }
}
