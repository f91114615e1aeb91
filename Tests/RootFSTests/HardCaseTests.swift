import EXT4
import Glibc
import Synchronization
import Testing

@testable import RootFS

/// Stacks of layers made by hand, each for one rule. Every image is compared with what overlayfs shows as well.
@Suite("Layers made by hand")
struct HardCaseTests {
    private func verify(_ layers: [[Member]]) async throws -> Comparison {
        let comparison = try await compare(layers)
        #expect(comparison.differences == [])
        #expect(comparison.accepted.map(\.count) == layers.map(\.count), "overlayfs could not take all members")
        return comparison
    }

    private func node(_ comparison: Comparison, _ path: String) throws -> TreeSnapshot.Node {
        try #require(comparison.found.nodes[Array(path.utf8)])
    }

    @Test("a whiteout hides lower layers only, wherever in its layer it stands")
    func whiteoutOrder() async throws {
        let lower: [Member] = [.directory("d"), .file("d/x", "old"), .file("d/gone", "old")]
        let first: [Member] = [.mark("d/.wh.x"), .mark("d/.wh.gone"), .file("d/x", "new")]
        let last: [Member] = [.file("d/x", "new"), .mark("d/.wh.x"), .mark("d/.wh.gone")]
        for upper in [first, last] {
            let result = try await verify([lower, upper])
            #expect(try node(result, "d/x").size == 3)
            #expect(!result.has("d/gone"))
        }
    }

    @Test("an opaque mark hides all lower children, wherever in its layer it stands")
    func opaqueOrder() async throws {
        let lower: [Member] = [.directory("d"), .file("d/x"), .directory("d/s"), .file("d/s/y")]
        let first: [Member] = [.directory("d"), .mark("d/.wh..wh..opq"), .file("d/s/new")]
        let last: [Member] = [.file("d/s/new"), .directory("d"), .mark("d/.wh..wh..opq")]
        for upper in [first, last] {
            let result = try await verify([lower, upper])
            #expect(result.has("d/s/new") && !result.has("d/x") && !result.has("d/s/y"))
        }
    }

    @Test("an opaque root hides all that is below it")
    func opaqueRoot() async throws {
        let result = try await verify([
            [.directory("./", mode: 0o700), .file("a"), .directory("d"), .file("d/x")],
            [.mark(".wh..wh..opq"), .file("b")],
        ])
        #expect(result.has("b") && !result.has("a") && !result.has("d"))
    }

    @Test("a whiteout of what is not there does nothing, and makes no directory")
    func whiteoutOfNothing() async throws {
        let result = try await verify([
            [.file("f", "stays"), .directory("d")],
            [.mark(".wh.x"), .mark("f/.wh.x"), .mark("n/m/.wh.x"), .mark("o/.wh..wh..opq"), .mark("d/.wh.x")],
        ])
        #expect(try node(result, "f").size == 5)
        #expect(!result.has("n") && !result.has("o") && !result.has("x"))
    }

    @Test("a whiteout of the bottom layer does nothing: an image of one whiteout is empty")
    func loneWhiteout() async throws {
        let result = try await verify([[.mark(".wh.x")]])
        #expect(result.found.nodes.count == 6)
    }

    @Test("an image of one empty layer, or of none, has a root and the mount points")
    func emptyImages() async throws {
        for layers in [[[]], []] as [[[Member]]] {
            let result = try await verify(layers)
            #expect(result.found.nodes.count == 6)
            #expect(try node(result, "").mode == S_IFDIR | 0o755)
            #expect(try node(result, "tmp").mode == S_IFDIR | 0o1777)
        }
    }

    @Test("mount points that are there stay as they are, whatever they are")
    func mountPoints() async throws {
        let result = try await verify([
            [.directory("proc", mode: 0o555), .symlink("run", to: "/var/run"), .file("dev"), .directory("tmp")]
        ])
        #expect(try node(result, "proc").mode == S_IFDIR | 0o555)
        #expect(try node(result, "run").target == Array("/var/run".utf8))
        #expect(try node(result, "tmp").mode == S_IFDIR | 0o755)
    }

    @Test("whiting out a hard link's first name leaves the others alone")
    func firstNameWhitedOut() async throws {
        let result = try await verify([
            [.file("a", "content"), .hardLink("b", to: "a"), .hardLink("c", to: "b")],
            [.mark(".wh.a")],
        ])
        #expect(!result.has("a"))
        #expect(try node(result, "b").size == 7)
        #expect(try node(result, "c").firstLink == Array("b".utf8))
    }

    @Test("a name that is replaced leaves its hard links the old content")
    func firstNameReplaced() async throws {
        let result = try await verify([
            [.file("a", "content"), .hardLink("b", to: "a"), .file("a", "new")],
            [.file("d/x", "xyz"), .hardLink("d/y", to: "d/x")],
            [.directory("d/x")],
        ])
        #expect(try node(result, "a").size == 3)
        #expect(try node(result, "b").size == 7)
        #expect(try node(result, "d/y").size == 3)
    }

    @Test("a hard link into a lower layer shares its inode")
    func linkIntoLower() async throws {
        let result = try await verify([
            [.file("d/a", "content")], [.file("other")], [.hardLink("b", to: "d/a"), .hardLink("c", to: "./b")],
        ])
        #expect(try node(result, "d/a").firstLink == Array("b".utf8))
        #expect(try node(result, "c").firstLink == Array("b".utf8))
    }

    @Test("a hard link means what its target was below it, though a layer above replaced that")
    func linkToReplaced() async throws {
        let result = try await verify([
            [.file("a", "oldest")], [.file("a", "middle!")], [.hardLink("b", to: "a")], [.file("a", "newest!!")],
        ])
        #expect(try node(result, "b").size == 7)
        #expect(try node(result, "a").size == 8)
    }

    @Test("a hard link keeps what every visible name has lost")
    func linkToHidden() async throws {
        let result = try await verify([
            [.file("d/a", "content")], [.hardLink("b", to: "d/a")], [.mark(".wh.d"), .hardLink("c", to: "b")],
            [.mark(".wh.b")],
        ])
        #expect(!result.has("d") && !result.has("b"))
        #expect(try node(result, "c").size == 7)
    }

    @Test("a link of a link of a lower layer finds the file at the bottom")
    func chainOfLinks() async throws {
        let result = try await verify([
            [.file("a", "content")], [.hardLink("b", to: "a")], [.hardLink("c", to: "b"), .mark(".wh.b")],
            [.hardLink("d", to: "c"), .mark(".wh.c"), .mark(".wh.a")],
        ])
        #expect(result.found.nodes.count == 7)
        #expect(try node(result, "d").size == 7)
    }

    @Test("a file that is hidden comes back through a later link of its own layer, from memory or from disk")
    func hiddenPayloads() async throws {
        let large = (0..<(10 << 20)).map { UInt8(truncatingIfNeeded: $0 >> 8 ^ $0) }
        let result = try await verify([
            [
                .file("small", "content"), Member("large", .file(large)), .file("later", "more"),
                .hardLink("kept-small", to: "small"), .hardLink("kept-large", to: "large"),
                .hardLink("kept-later", to: "later"),
            ],
            [.mark(".wh.small"), .mark(".wh.large"), .mark(".wh.later")],
        ])
        #expect(try node(result, "kept-large").size == 10 << 20)
        #expect(result.summary.files == 3)
    }

    @Test("hidden files and replaced ones leave nothing in the image")
    func nothingHiddenStays() async throws {
        let secret = Array("whited-out-secret".utf8)
        let content = Member("s", .file((0..<1000).flatMap { _ in secret }))
        let found = try await inPrivateMounts {
            try withTemporaryDirectory { directory in
                let image = directory / "image".utf8
                let layers: [[Member]] = [
                    [content, content.with { $0.path = Array("twice".utf8) }, .file("twice", "new")],
                    [.mark(".wh.s"), content.with { $0.path = Array("d/s".utf8) }, .file("d", "now a file")],
                ]
                try convert(layers.map { Layer(TarBuilder.archive($0)) }, to: image)
                _ = try inspect(image, in: directory)
                let pattern = String(decoding: secret, as: UTF8.self)
                return try run(["grep", "-c", pattern, String(decoding: image, as: UTF8.self)]).status == 0
            }
        }
        #expect(!found)
    }

    @Test("a file over a directory over a file hides the first directory's children for good")
    func directoryFileDirectory() async throws {
        let result = try await verify([
            [.directory("d", mode: 0o700), .file("d/old")], [.file("d", "file")], [.directory("d"), .file("d/new")],
            [.file("d/newest")],
        ])
        #expect(result.has("d/new") && result.has("d/newest") && !result.has("d/old"))
        let implied = try await verify([[.directory("d", mode: 0o700), .file("d/old")], [.file("d")], [.file("d/x")]])
        #expect(try node(implied, "d").mode == S_IFDIR | 0o755)
    }

    @Test("a directory over a file, and a file over that, leave nothing of either")
    func fileDirectoryFile() async throws {
        let result = try await verify([
            [.file("f", "old")], [.directory("f"), .file("f/x")], [.file("f", "newest")], [.file("g")],
        ])
        #expect(try node(result, "f").size == 6)
        #expect(!result.has("f/x"))
        let gone = try await verify([[.file("f", "old")], [.directory("f"), .file("f/x")], [.mark(".wh.f")]])
        #expect(!gone.has("f") && !gone.has("f/x"))
    }

    @Test("a directory replaces a lower symlink, whether it is named or implied")
    func directoryOverSymlink() async throws {
        let lower: [Member] = [.directory("usr/lib"), .file("usr/lib/x"), .symlink("lib", to: "usr/lib")]
        for upper in [[.directory("lib"), .file("lib/y")], [.file("lib/y")]] as [[Member]] {
            let result = try await verify([lower, upper])
            #expect(result.has("lib/y") && !result.has("lib/x") && !result.has("usr/lib/y"))
        }
    }

    @Test("a hard link's header sets owner and mode of the file, which takes its capabilities and adapts its ACL")
    func linkAttributes() async throws {
        let capability: [UInt8] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        let list = POSIXAccessList(
            owner: 6, users: [POSIXAccessList.Named(id: 5, permissions: 7)], group: 4, mask: 7, other: 0)
        let result = try await verify([
            [
                .file("ping", "x").with { $0.xattrs = ["security.capability": capability, "user.kept": [1]] },
                .hardLink("ping6", to: "ping").with { ($0.mode, $0.uid) = (0o4711, 9) },
                .file("again", "x").with { $0.xattrs = ["security.capability": capability] },
                .hardLink("named", to: "again").with { $0.xattrs = ["security.capability": capability] },
                .file("shared", "x").with { $0.access = list },
                .hardLink("masked", to: "shared").with { $0.mode = 0o640 },
            ]
        ])
        let ping = try node(result, "ping")
        #expect(ping.mode == S_IFREG | 0o4711 && ping.uid == 9)
        #expect(ping.xattrs == [Array("user.kept".utf8): [1]])
        #expect(try node(result, "again").xattrs.count == 1)
        var masked = list
        masked.mask = 4
        let shared = try node(result, "shared")
        #expect(shared.xattrs == [Array("system.posix_acl_access".utf8): masked.attribute])
    }

    @Test("a directory that is met again keeps its children and takes all its attributes from above")
    func directoryAgain() async throws {
        let result = try await verify([
            [
                .directory("d", mode: 0o1777).with { $0.xattrs = ["user.a": [1], "trusted.b": [2]] },
                .file("d/x"),
            ],
            [
                .directory("d", mode: 0o2750).with {
                    $0.xattrs = ["user.c": [3]]
                    $0.uid = 5
                }
            ],
        ])
        let directory = try node(result, "d")
        #expect(result.has("d/x"))
        #expect(directory.mode == S_IFDIR | 0o2750 && directory.uid == 5)
        #expect(directory.xattrs == [Array("user.c".utf8): [3]])
    }

    @Test("missing parents are as the lower ones, and else plain directories of a fixed time")
    func missingParents() async throws {
        let lower = Member.directory("d", mode: 0o1700).with {
            $0.uid = 7
            $0.seconds = 12_345
            $0.xattrs = ["user.a": [1]]
        }
        let result = try await verify([[lower], [.file("d/e/x")], [.file("d/e/y")]])
        #expect(try node(result, "d").uid == 7)
        #expect(try node(result, "d/e").mode == S_IFDIR | 0o755)
        #expect(try node(result, "d/e").seconds == Oracle.timestamp)
        let deleted = try await verify([[lower], [.mark(".wh.d"), .file("d/x")]])
        #expect(try node(deleted, "d").mode == S_IFDIR | 0o755)
    }

    @Test("the root's attributes come from the topmost layer that names it")
    func rootAttributes() async throws {
        let result = try await verify([
            [.directory("./", mode: 0o700)], [.directory("./", mode: 0o711).with { $0.uid = 9 }], [.file("x")],
        ])
        #expect(try node(result, "").mode == S_IFDIR | 0o711)
        #expect(try node(result, "").uid == 9)
    }

    @Test("of duplicates in a layer the last one wins, whatever they are")
    func duplicates() async throws {
        let result = try await verify([
            [
                .file("a", "one"), .file("a", "second"), .directory("b"), .file("b/x"), .file("b", "file"),
                .file("c", "file"), .directory("c"), .file("c/y"), .directory("d", mode: 0o700), .file("d/z"),
                .directory("d", mode: 0o711), .symlink("e", to: "a"), .file("e", "no link"),
            ]
        ])
        #expect(try node(result, "a").size == 6)
        #expect(try node(result, "d").mode == S_IFDIR | 0o711)
        #expect(result.has("c/y") && result.has("d/z") && !result.has("b/x"))
        #expect(result.summary.files == 5)
    }

    @Test("a character device 0/0 is a whiteout, with a warning, and so are hard links to it")
    func deviceWhiteouts() async throws {
        let lower: [Member] = [.file("a"), .directory("d"), .file("d/x"), .file("e"), .file("b")]
        let result = try await verify([
            lower, [Member("a", .character(0, 0)), Member("d", .character(0, 0)), .file("d2")],
        ])
        #expect(!result.has("a") && !result.has("d") && result.has("e"))
        #expect(result.warnings.count == 2)
        #expect(result.warnings.first?.message.contains("whiteout") == true)

        let image = try await converted([lower, [Member("a", .character(0, 0)), .hardLink("b", to: "a")]])
        #expect(image[Array("b".utf8)] == nil && image[Array("a".utf8)] == nil)
    }

    /// What an image shows that overlayfs has no say in.
    private func converted(_ layers: [[Member]]) async throws -> [Path: TreeSnapshot.Node] {
        try await converted(layers.map { TarBuilder.archive($0) })
    }

    private func converted(
        _ archives: [[UInt8]], warnings: WarningList = WarningList()
    ) async throws -> [Path: TreeSnapshot.Node] {
        try await inPrivateMounts {
            try withTemporaryDirectory { directory in
                try convert(archives.map { Layer($0) }, to: directory / "image".utf8, warnings: warnings)
                return try inspect(directory / "image".utf8, in: directory).nodes
            }
        }
    }

    @Test("names may be of 255 bytes of any kind")
    func strangeNames() async throws {
        let long = [UInt8](repeating: 0xFE, count: 255)
        let names: [Path] = [
            long, Array("tab\tnewline\n".utf8), [0x80, 0xFF], Array("\"quotes\\".utf8), Array(" ".utf8),
            Array("日本語".utf8), Array(".wh".utf8), Array("...".utf8),
        ]
        let result = try await verify([
            names.map { name in Member("x", .file([1])).with { $0.path = name } },
            [Member.mark("x").with { $0.path = Array(".wh.".utf8) + [0x80, 0xFF] }],
        ])
        #expect(result.found.nodes[long]?.size == 1)
        #expect(result.found.nodes[[0x80, 0xFF]] == nil)
        #expect(result.found.nodes.count == 6 + names.count - 1)
    }

    @Test("a whiteout can hide a name of 255 bytes")
    func whiteoutOfLongName() async throws {
        let name = String(repeating: "n", count: 255)
        let image = try await converted([[.file(name)], [.mark(".wh.\(name)")]])
        #expect(image.count == 6)
    }

    @Test("owners, modes and times keep their full range")
    func ranges() async throws {
        var members: [Member] = []
        let times: [Int64] = [-2_147_483_648, -1, 0, 2_147_483_648, 4_294_967_296, 15_032_385_535]
        for (index, seconds) in times.enumerated() {
            members.append(
                .file("t\(index)").with {
                    $0.seconds = seconds
                    $0.nanoseconds = 123_456_789
                    $0.uid = 4_294_967_294
                    $0.gid = 4_294_967_294
                    $0.mode = 0o7777
                })
        }
        let result = try await verify([members + [.symlink("l", to: "x").with { $0.seconds = -5 }]])
        #expect(try node(result, "t0").uid == 4_294_967_294)
        #expect(try node(result, "t0").mode == S_IFREG | 0o7777)
        #expect(try node(result, "t1").seconds == -1 && node(result, "t1").nanoseconds == 123_456_789)
        #expect(try node(result, "t4").seconds == 4_294_967_296)
    }

    @Test("times that ext4 cannot hold become the nearest it can")
    func clampedTimes() async throws {
        let image = try await converted([
            [.file("past").with { $0.seconds = -3_000_000_000 }, .file("future").with { $0.seconds = 20_000_000_000 }]
        ])
        #expect(image[Array("past".utf8)]?.seconds == -2_147_483_648)
        #expect(image[Array("future".utf8)]?.seconds == 15_032_385_535)
    }

    @Test("devices, fifos and symlinks of any length are kept, and hard links to them")
    func specialFiles() async throws {
        let target = String(repeating: "t/", count: 2047)
        let result = try await verify([
            [
                Member("null", .character(1, 3)), Member("big", .block(259, 1_000_000)), Member("pipe", .fifo),
                .symlink("short", to: "x"), .symlink("long", to: target),
                .symlink("sixty", to: String(repeating: "s", count: 60)),
                .hardLink("null2", to: "null"), .hardLink("pipe2", to: "pipe"), .hardLink("long2", to: "long"),
            ]
        ])
        #expect(try node(result, "long2").target.count == 4094)
        #expect(try node(result, "long2").firstLink == Array("long".utf8))
        #expect(result.summary.otherInodes == 6 && result.summary.hardLinks == 3)
    }

    @Test("capabilities and other attributes are kept, those of overlayfs dropped, unknown ones warned of")
    func attributes() async throws {
        // Version 2, effective, cap_net_raw (capabilities(7)).
        let capability: [UInt8] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        let result = try await verify([
            [
                .file("ping").with {
                    $0.xattrs = ["security.capability": capability, "user.big": [UInt8](repeating: 5, count: 3000)]
                    $0.mode = 0o755
                }
            ]
        ])
        #expect(try node(result, "ping").xattrs[Array("security.capability".utf8)] == capability)

        let warnings = WarningList()
        let archive = TarBuilder.archive([
            .directory("d").with {
                $0.xattrs = ["trusted.overlay.opaque": [121], "user.overlay.x": [1], "com.apple.x": [1], "user.y": [2]]
            },
            .symlink("l", to: "d").with { $0.xattrs = ["user.x": [1], "security.x": [3]] },
        ])
        let image = try await converted([archive], warnings: warnings)
        #expect(image[Array("d".utf8)]?.xattrs == [Array("user.y".utf8): [2]])
        #expect(image[Array("l".utf8)]?.xattrs == [Array("security.x".utf8): [3]])
        #expect(warnings.all.map(\.entry) == ["d/", "l"])
    }

    @Test(
        "an ACL as text sets the mode's group bits, one as a raw attribute follows the mode, a useless one is dropped")
    func accessControlLists() async throws {
        let access = Array("system.posix_acl_access".utf8)
        func list(_ text: String) -> [UInt8] { AccessControlList(text: Array(text.utf8))?.binary ?? [] }
        let warnings = WarningList()
        let archive = TarBuilder.archive { tar in
            tar.pax([("SCHILY.acl.access", "user::rw-,user:5:rwx,group::r--,mask::rwx,other::---")])
            tar.file("text", mode: 0o4644)
            tar.pax([("SCHILY.xattr.system.posix_acl_access", list("user::r,user:5:r,group::r,mask::r,other::r"))])
            tar.file("raw", mode: 0o751)
            tar.pax([("SCHILY.acl.access", "user::rw-,group::r--,other::---")])
            tar.file("minimal", mode: 0o777)
            tar.pax([("SCHILY.acl.default", "user::rwx,group::r-x,other::---")])
            tar.directory("d")
            tar.pax([("SCHILY.acl.access", "user::rw-,user:somebody:rwx,group::r--,mask::rwx,other::---")])
            tar.file("named", mode: 0o640)
        }
        let image = try await converted([archive], warnings: warnings)
        let text = try #require(image[Array("text".utf8)])
        #expect(text.mode == S_IFREG | 0o4670)
        #expect(text.xattrs == [access: list("user::rw-,user:5:rwx,group::r--,mask::rwx,other::---")])
        let raw = try #require(image[Array("raw".utf8)])
        #expect(raw.mode == S_IFREG | 0o751)
        #expect(raw.xattrs == [access: list("user::rwx,user:5:r,group::r,mask::rx,other::x")])
        let minimal = try #require(image[Array("minimal".utf8)])
        #expect(minimal.mode == S_IFREG | 0o640 && minimal.xattrs.isEmpty)
        let directory = try #require(image[Array("d".utf8)])
        #expect(
            directory.xattrs == [
                Array("system.posix_acl_default".utf8): list("user::rwx,group::r-x,other::---")
            ])
        #expect(image[Array("named".utf8)]?.mode == S_IFREG | 0o640)
        #expect(warnings.all.map(\.entry) == ["named"])
    }

    @Test("a file's size in PAX records stands above the one in its header")
    func paxSize() async throws {
        let archive = TarBuilder.archive { tar in
            tar.pax([("size", "700")])
            tar.header(.init(name: Array("f".utf8), size: 0))
            tar.payload([UInt8](repeating: 1, count: 700))
            tar.file("g", [1])
        }
        let image = try await converted([archive])
        #expect(image[Array("f".utf8)]?.size == 700 && image[Array("g".utf8)]?.size == 1)
    }

    @Test("entries below a symlink of their own layer go where it leads, inside the root")
    func throughSymlinks() async throws {
        let image = try await converted([
            [.file("usr/lib/old")],
            [
                .symlink("lib", to: "usr/lib"), .file("lib/x", "1"), .symlink("up", to: "../../../../usr"),
                .file("up/y", "2"), .symlink("abs", to: "/usr/./lib/../share"), .file("abs/z", "3"),
                .hardLink("link", to: "lib/x"), .mark("lib/.wh.old"),
            ],
        ])
        for path in ["usr/lib/x", "usr/y", "usr/share/z"] { #expect(image[Array(path.utf8)]?.size == 1, "\(path)") }
        #expect(image[Array("usr/lib/x".utf8)]?.firstLink == Array("link".utf8))
        #expect(image[Array("usr/lib/old".utf8)] == nil)
    }

    @Test("aufs's own files are left out, but serve as targets of hard links")
    func aufs() async throws {
        let image = try await converted([
            [
                .directory(".wh..wh.plnk"), .file(".wh..wh.plnk/12.34", "linked"), .file(".wh..wh.aufs"),
                .directory(".wh..wh.orph"), .hardLink("a", to: ".wh..wh.plnk/12.34"),
                .hardLink("b", to: ".wh..wh.plnk/12.34"), .file("d/.wh..wh.foo"),
            ]
        ])
        #expect(image.count == 8)
        #expect(image[Array("b".utf8)]?.firstLink == Array("a".utf8))
        #expect(image[Array("a".utf8)]?.size == 6)
    }

    @Test("leading slashes, dots and doubled slashes mean nothing")
    func spellings() async throws {
        let image = try await converted([
            [.directory("/a//"), .file("./a/./b"), .file("//c"), .hardLink("d", to: "/./a//b"), .directory("/")]
        ])
        #expect(image.count == 6 + 4)
        #expect(image[Array("d".utf8)]?.firstLink == Array("a/b".utf8))
    }

    @Test("each layer is opened once and read to its end, whatever is hidden")
    func readOnce() throws {
        final class Log: Sendable {
            let reads = Mutex<[(name: String, bytes: Int)]>([])
        }
        struct Source: LayerSource {
            var memory: MemorySource
            let name: String
            let log: Log

            mutating func read(into buffer: UnsafeMutableRawBufferPointer) -> Int {
                let count = memory.read(into: buffer)
                log.reads.withLock { reads in
                    if let index = reads.firstIndex(where: { $0.name == name }) { reads[index].bytes += count }
                }
                return count
            }
        }
        let log = Log()
        let stacks: [[Member]] = [
            [Member("big", .file([UInt8](repeating: 1, count: 3 << 20))), .file("x")], [.file("x", "middle")],
            [.mark(".wh..wh..opq"), .file("x", "top")],
        ]
        var sizes: [Int] = []
        let layers = stacks.enumerated().map { number, members in
            // Bytes after the end belong to the layer as well.
            let archive = TarBuilder.archive(members) + [UInt8](repeating: 0, count: 700_000)
            sizes.append(archive.count)
            var layer = Layer(archive, name: "\(number)")
            layer.open = {
                log.reads.withLock { $0.append(("\(number)", 0)) }
                return Source(memory: MemorySource(bytes: archive[...]), name: "\(number)", log: log)
            }
            return layer
        }
        #expect(try refusal(layers) == nil)
        // Layers ahead of their turn are opened by threads of their own, in any order.
        let reads = log.reads.withLock { $0 }.sorted { $0.name < $1.name }
        #expect(reads.map(\.name) == ["0", "1", "2"])
        #expect(reads.map(\.bytes) == sizes)
    }

    @Test("the same layers give the same bytes, however they are compressed and cut, on any number of threads")
    func deterministic() async throws {
        var random = RandomLayers(seed: 4711)
        let stacks = [random.stack(), random.stack()].map { $0.layers.map(\.members) }
        let same = try await inPrivateMounts {
            try withTemporaryDirectory { directory in
                try stacks.enumerated().allSatisfy { number, stack in
                    let workspace = directory / "oracle-\(number)".utf8
                    try withPath(workspace) { _ = try check(mkdir($0, 0o755), "mkdir") }
                    let oracle = try Oracle(in: workspace)
                    let archives = try stack.map { TarBuilder.archive(try oracle.add($0)) }
                    let (one, two) = (directory / "one-\(number)".utf8, directory / "two-\(number)".utf8)
                    try convert(archives.map { Layer($0, .zstd, name: "other", pieceSize: 13) }, to: one)
                    return try ways.allSatisfy { way in
                        try convert(archives.map { Layer($0, .gzip) }, to: two, execution: way)
                        defer { removeTree(two) }
                        return try contents(one) == contents(two)
                    }
                }
            }
        }
        #expect(same)
    }
}
