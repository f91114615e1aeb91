import EXT4
import Glibc
import Testing

@testable import RootFS

/// One tree in all the ways in which archives are written.
@Suite("Formats of archives in an image")
struct FormatCaseTests {
    private static let long = String(repeating: "l", count: 150)

    @Test("PAX, GNU and Go's archives of the same tree, spelled in any way, are the same image")
    func formats() async throws {
        let plain: [Member] = [
            .directory("d", mode: 0o1777).with { ($0.uid, $0.gid) = (4_294_967_294, 70_000) },
            .file("d/\(Self.long)", "long").with { $0.seconds = -86_400 }, .file("d/\u{e9}", "not ASCII"),
            .file(String(repeating: "split/", count: 20) + "name").with { $0.seconds = 4_294_967_296 },
            .symlink("soft", to: "../" + Self.long),
            .hardLink("hard", to: "d/\(Self.long)").with { $0.seconds = -86_400 },
            Member(path: [UInt8](repeating: 0xFF, count: 255), .fifo), Member("dev", .block(259, 1_000_000)),
            Member("holes", .file([UInt8](repeating: 0, count: 50_000) + [1])),
        ]
        var trees: [TreeSnapshot] = []
        for format in TarFormat.allCases {
            for spelling in Spelling.allCases {
                let members = plain.map { member in
                    member.with { ($0.format, $0.spelling) = (format, spelling) }
                }
                let result = try await compare([members])
                #expect(result.differences == [], "\(format), \(spelling)")
                #expect(result.accepted.map(\.count) == [members.count])
                trees.append(result.found)
            }
        }
        for tree in trees { #expect(tree.differences(from: trees[0]) == []) }
        #expect(trees.count == 12)
    }

    @Test("a file with holes keeps them in each of the four formats, however many they are")
    func holes() async throws {
        for parts in [1, 3, 4, 5, 24, 25, 26, 100] {
            var content: [UInt8] = []
            for index in 0..<parts {
                content += [UInt8](repeating: 0, count: 8192)
                content += [UInt8](repeating: UInt8(index + 1), count: index % 3 * 512 + 512)
            }
            for format in SparseFormat.allCases {
                for tail in [0, 1, 9000] {
                    let member = Member("s", .file(content + [UInt8](repeating: 0, count: tail))).with {
                        $0.sparse = format
                        $0.format = format == .oldGNU ? .gnu : .pax
                    }
                    let result = try await compare([[member, .file("after", "x")]])
                    #expect(result.differences == [], "\(parts) parts, \(format), \(tail) zeros at the end")
                    let data = result.found.nodes[Array("s".utf8)]?.data ?? []
                    #expect(data.reduce(0) { $0 + $1.count } < content.count)
                }
            }
        }
    }

    @Test("headers of before POSIX, global ones and numbers in base 256 hold in an image")
    func oldHeaders() async throws {
        let archive = TarBuilder.archive { tar in
            let v7: [Int: [UInt8]] = [156: [0], 257: [UInt8](repeating: 0, count: 8)]
            tar.header(.init(name: Array("v7/".utf8), mode: 0o750, patches: v7))
            tar.header(.init(name: Array("v7/file".utf8), size: 3, uid: 7, patches: v7))
            tar.payload([1, 2, 3])
            let link = TarBuilder.Header(
                name: Array("v7/link".utf8), type: "1", uid: 7, link: Array("v7/file".utf8),
                patches: [257: [UInt8](repeating: 0, count: 8)])
            tar.header(link)
            tar.pax([("uid", "77"), ("mtime", "5.5")], type: "g")
            tar.file("global")
            tar.pax([("uid", ""), ("mtime", "")], type: "g")
            tar.header(.init(name: Array("big".utf8), uid: 4_000_000_000, gid: 3_000_000_000, mtime: -3))
        }
        let nodes = try await inPrivateMounts {
            try withTemporaryDirectory { directory in
                try convert([Layer(archive)], to: directory / "image".utf8)
                return try inspect(directory / "image".utf8, in: directory).nodes
            }
        }
        #expect(nodes[Array("v7".utf8)]?.mode == S_IFDIR | 0o750)
        #expect(nodes[Array("v7/link".utf8)]?.firstLink == Array("v7/file".utf8))
        #expect(nodes[Array("v7/file".utf8)]?.size == 3 && nodes[Array("v7/file".utf8)]?.uid == 7)
        let global = nodes[Array("global".utf8)]
        #expect(global?.uid == 77 && global?.seconds == 5 && global?.nanoseconds == 500_000_000)
        let big = nodes[Array("big".utf8)]
        #expect(big?.uid == 4_000_000_000 && big?.gid == 3_000_000_000 && big?.seconds == -3)
    }
}
