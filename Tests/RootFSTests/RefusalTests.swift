import EXT4
import Foundation
import Glibc
import Testing

@testable import RootFS

/// What no conversion takes, and that the error says where it is and what rule it breaks.
@Suite("Refusals")
struct RefusalTests {
    private func expect(
        _ code: RootFSError.Code, _ text: String, entry: String? = nil, limits: Limits = Limits(),
        _ layers: [[UInt8]], sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let error = try refusal(
            layers.enumerated().map { Layer($0.element, name: "layer-\($0.offset)") }, limits: limits)
        #expect(error?.code == code, "\(String(describing: error))", sourceLocation: sourceLocation)
        // Of each limit a caller must be able to say which flag raises it.
        if code == .limit { #expect(error?.exceeded != nil, sourceLocation: sourceLocation) }
        let isNamed = text.isEmpty || error?.message.contains(text) == true
        #expect(isNamed, "\(String(describing: error))", sourceLocation: sourceLocation)
        #expect(error?.layer == "layer-\(layers.count - 1)", sourceLocation: sourceLocation)
        if let entry { #expect(error?.entry == entry, sourceLocation: sourceLocation) }
    }

    private func expect(
        _ code: RootFSError.Code, _ text: String, entry: String? = nil, _ members: [Member]...,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        try expect(
            code, text, entry: entry, members.map { TarBuilder.archive($0) }, sourceLocation: sourceLocation)
    }

    @Test(
        "a path that leads upwards is refused",
        arguments: ["../x", "a/../b", "/..", "a/..", "./../etc/passwd", "a/../../x"])
    func dotDot(path: String) throws {
        try expect(.name, "\"..\"", entry: path, [.file(path)])
        try expect(.name, "\"..\"", entry: "link", [.file("a"), .hardLink("link", to: path)])
        try expect(.name, "\"..\"", [.directory(path)])
    }

    @Test("names and paths that are too long, or hold a NUL, are refused")
    func longNames() throws {
        try expect(.name, "256 bytes", [.file(String(repeating: "n", count: 256))])
        try expect(.name, "260 bytes", [.file("ok")], [.mark(".wh." + String(repeating: "n", count: 260))])
        try expect(.name, "4097 bytes", [.file(String(repeating: "n/", count: 2048) + "x")])
        let archive = TarBuilder.archive { tar in
            tar.pax([("path", [0x61, 0, 0x62])])
            tar.file("x")
        }
        try expect(.name, "NUL", [archive])
    }

    @Test("a whiteout that does not say what it hides is refused", arguments: [".wh.", "d/.wh.", ".wh..", ".wh..."])
    func bareWhiteout(path: String) throws {
        try expect(.name, "does not say what it hides", entry: path, [.mark(path)])
    }

    @Test("nothing can be in a whiteout")
    func insideWhiteout() throws {
        try expect(.name, "whiteout", entry: "d/.wh.x/y", [.file("d/.wh.x/y")])
        try expect(.name, "no directory", [.symlink("s", to: ".wh.x"), .file("s/y")])
    }

    @Test("the root can be nothing but a directory")
    func rootOfAnotherType() throws {
        try expect(.name, "root", entry: "./", [.file("./")])
        try expect(.name, "root", [.symlink("/", to: "x")])
    }

    @Test("an entry below something that is no directory in its layer is refused, as runtimes fail to extract it")
    func parentIsNoDirectory() throws {
        try expect(.archive, "\"f\" is not a directory", entry: "f/x", [.file("f"), .file("f/x")])
        try expect(.archive, "\"d\" is not a directory", [Member("d", .character(0, 0)), .file("d/x")])
        try expect(.name, "symlinks", entry: "a/x", [.symlink("a", to: "b"), .symlink("b", to: "a"), .file("a/x")])
    }

    @Test("a hard link whose target no layer below has is refused")
    func danglingLinks() throws {
        try expect(.link, "\"x\"", entry: "l", [.hardLink("l", to: "x")])
        try expect(.link, "\"x\"", entry: "l", [.hardLink("l", to: "x"), .file("x")])
        try expect(.link, "neither its layer nor one below", entry: "l", [.file("a")], [.hardLink("l", to: "x")])
        try expect(.link, "deleted", entry: "l", [.file("x")], [.mark(".wh.x")], [.hardLink("l", to: "x")])
        try expect(
            .link, "deleted", entry: "l", [.file("d/x")], [.directory("d"), .mark("d/.wh..wh..opq")],
            [.hardLink("l", to: "d/x")])
        try expect(.link, "not a directory", entry: "l", [.file("d/x")], [.file("d")], [.hardLink("l", to: "d/x")])
    }

    @Test("a hard link to a directory is refused")
    func linkedDirectories() throws {
        try expect(.link, "directory", entry: "l", [.directory("d"), .hardLink("l", to: "d")])
        try expect(.link, "directory", entry: "l", [.directory("d")], [.hardLink("l", to: "d")])
        try expect(.link, "directory", entry: "l", [.file("d/x")], [.hardLink("l", to: "d")])
        try expect(.link, "root", entry: "l", [.hardLink("l", to: "/")])
    }

    @Test("a symlink to nothing is refused")
    func emptySymlink() throws {
        try expect(.name, "0 bytes", entry: "l", [.symlink("l", to: "")])
        try expect(.name, "4096 bytes", [.symlink("l", to: String(repeating: "x", count: 4096))])
    }

    @Test("types that Linux does not have are refused, as runtimes do", arguments: ["D", "M", "N", "V", "X", "A", "8"])
    func unknownTypes(type: Character) throws {
        let archive = TarBuilder.archive { $0.header(.init(name: Array("x".utf8), type: type)) }
        try expect(.unsupported, "type \"\(type)\"", entry: "x", [archive])
    }

    @Test("owners and devices out of range are refused")
    func outOfRange() throws {
        try expect(.unsupported, "uid 4294967295", entry: "f", [.file("f").with { $0.uid = 4_294_967_295 }])
        try expect(.unsupported, "gid 4294967296", [.file("f").with { $0.gid = 4_294_967_296 }])
        try expect(.unsupported, "4096:0", [Member("f", .block(4096, 0))])
        try expect(.unsupported, "1:1048576", [Member("f", .character(1, 1 << 20))])
        let negative = TarBuilder.archive {
            $0.header(.init(name: Array("x".utf8), patches: [108: [UInt8](repeating: 0xFF, count: 8)]))
        }
        try expect(.archive, "uid is negative", [negative])
    }

    @Test("attributes past the limits of Linux are refused")
    func largeAttributes() throws {
        let name = String(repeating: "n", count: 251)
        try expect(.unsupported, "256 bytes", [.file("f").with { $0.xattrs = ["user.\(name)": [1]] }])
        let value = [UInt8](repeating: 1, count: 65_537)
        try expect(.unsupported, "65537 bytes", entry: "f", [.file("f").with { $0.xattrs = ["user.x": value] }])
        try expect(
            .archive, "not a POSIX ACL", entry: "f",
            [.file("f").with { $0.xattrs = ["system.posix_acl_access": [2, 0, 0, 0, 9]] }])
    }

    @Test("an archive that ends early is refused, wherever it ends")
    func truncatedArchives() throws {
        let archive = TarBuilder.archive { tar in
            tar.directory("d")
            tar.pax([("path", "d/" + String(repeating: "p", count: 200)), ("mtime", "1.5")])
            tar.file("cut", [UInt8](repeating: 3, count: 1500))
            tar.symlink("d/l", to: "x")
        }
        var refused = 0
        // Up to the end mark; one of its two blocks is not enough without a digest either.
        for end in 0..<(archive.count - 512) where end % 17 == 0 || end % 512 < 2 {
            for compression in [Compression.none, .gzip] {
                let bytes = Array(archive[..<end])
                let stored = compression == .none ? bytes : gzip(bytes, level: 1)
                let error = try refusal([Layer(stored: stored, compression)])
                #expect(error?.code == .archive, "cut at \(end): \(String(describing: error))")
                refused += 1
            }
        }
        print("truncated archives refused: \(refused)")
    }

    @Test(
        "an archive without an end mark, and without the last padding, is taken when its diffID fits, with a warning",
        arguments: [0, 1, 400, 511])
    func missingEndMark(missing: Int) async throws {
        var tar = TarBuilder()
        tar.file("f", [1])
        let archive = Array(tar.bytes.dropLast(missing))
        let warnings = WarningList()
        try withTemporaryDirectory { directory in
            _ = try convert([Layer(archive)], to: directory / "image".utf8, warnings: warnings)
        }
        #expect(warnings.all.map(\.message) == ["the archive has no end mark"])
    }

    @Test("a header that is not one is refused")
    func corruptHeaders() throws {
        let archive = TarBuilder.archive { $0.file("f", [1, 2, 3]) }
        for position in [0, 50, 100, 124, 148, 156, 257, 400] {
            var broken = archive
            broken[position] ^= 0x21
            try expect(.archive, "corrupt", [broken])
        }
        let lone = TarBuilder.archive { tar in
            tar.file("a")
            tar.bytes += [UInt8](repeating: 0, count: 512)
            tar.file("b")
        }
        try expect(.archive, "lone block", [lone])
        let digits = TarBuilder.archive {
            $0.header(.init(name: Array("x".utf8), patches: [124: Array("00000000x00\0".utf8)]))
        }
        try expect(.archive, "size is not an octal number", entry: "x", [digits])
    }

    @Test("PAX records that are malformed are refused")
    func corruptPAX() throws {
        let bodies = [
            "5 a=b\n", "7 a=b\n", "x a=b\n", " a=b\n", "6 ab\n", "5 =b\n", "99999999999999999999 a=b\n", "6 a=b",
            "4 a\n",
            "12 size=-1\n\n", "14 size=99999999999999999999\n",
        ]
        for body in bodies {
            let archive = TarBuilder.archive { tar in
                tar.header(.init(name: Array("pax".utf8), type: "x", size: UInt64(body.utf8.count)))
                tar.payload(Array(body.utf8))
                tar.file("f")
            }
            try expect(.archive, "", [archive])
        }
        for (key, value) in [("size", "-1"), ("size", "9223372036854775808"), ("uid", "abc"), ("mtime", "now")] {
            let archive = TarBuilder.archive { tar in
                tar.pax([(key, value)])
                tar.file("f")
            }
            try expect(.archive, "\(key) is \"\(value)\"", entry: "f", [archive])
        }
        let dangling = TarBuilder.archive { $0.pax([("path", "x")]) }
        try expect(.archive, "not followed by an entry", [dangling])
    }

    @Test("a size that lies is refused")
    func lyingSizes() throws {
        for size in [UInt64(2000), 1 << 40, UInt64(Int64.max)] {
            let archive = TarBuilder.archive { tar in
                tar.pax([("size", "\(size)")])
                tar.file("f", [1, 2, 3])
            }
            try expect(.archive, "", entry: "f", [archive])
        }
    }

    @Test("more than the limits allow is refused, and the error names the limit")
    func limits() throws {
        func limits(_ change: (inout Limits) -> Void) -> Limits {
            var limits = Limits()
            change(&limits)
            return limits
        }
        let many = TarBuilder.archive((0..<50).map { .file("d/f\($0)") })
        try expect(.limit, "40 paths", limits: limits { $0.entries = 40 }, [many])
        try expect(.limit, "100 bytes", limits: limits { $0.metadataBytes = 100 }, [many])
        try expect(.limit, "4 names deep", limits: limits { $0.depth = 3 }, [TarBuilder.archive([.file("a/b/c/d")])])
        let pax = TarBuilder.archive([.file("f").with { $0.xattrs = ["user.x": [UInt8](repeating: 1, count: 2000)] }])
        try expect(.limit, "limit is 1000", limits: limits { $0.extensionBytes = 1000 }, [pax])
        let data = TarBuilder.archive([Member("f", .file([UInt8](repeating: 1, count: 5000)))])
        try expect(.limit, "3000 bytes", limits: limits { $0.decompressedBytes = 3000 }, [data])
        let sparse = TarBuilder.archive { tar in
            tar.pax([("GNU.sparse.size", "100"), ("GNU.sparse.map", "0,1,2,1,4,1,6,1")])
            tar.file("f", [1, 2, 3, 4])
        }
        try expect(.limit, "3 segments", entry: "f", limits: limits { $0.sparseSegments = 3 }, [sparse])
        let error = try refusal(
            [Layer(data), Layer(TarBuilder.archive([.mark(".wh.f")]))], limits: limits { $0.hiddenBytes = 4000 })
        #expect(error?.code == .limit && error?.entry == "f" && error?.exceeded == .hiddenBytes)
        let endless = TarBuilder.archive { tar in
            for index in 0..<40 {
                tar.pax([("SCHILY.xattr.user.\(index)", "0123456789012345678901234567890")], type: "g")
            }
        }
        try expect(.limit, "global PAX", limits: limits { $0.extensionBytes = 1000 }, [endless])
    }

    @Test("attributes that a global header gives to every entry are counted, for whiteouts too")
    func globalAmplification() throws {
        var limits = Limits()
        limits.metadataBytes = 1 << 20
        let archive = TarBuilder.archive { tar in
            tar.pax([("SCHILY.xattr.user.x", [UInt8](repeating: 1, count: 60_000))], type: "g")
            for index in 0..<40 { tar.file(".wh.x\(index)") }
        }
        try expect(.limit, "1048576 bytes", entry: ".wh.x17", limits: limits, [archive])
    }

    @Test("more layers than the limit are refused before one is read")
    func tooManyLayers() throws {
        var limits = Limits()
        limits.layers = 2
        let layer = Layer(name: "never", compression: .none, diffID: nil) {
            Issue.record("a layer was opened")
            return MemorySource(bytes: [])
        }
        let error = try refusal([layer, layer, layer], limits: limits)
        #expect(error?.code == .limit && error?.message.contains("3 layers") == true)
        #expect(error?.exceeded == .layers)
    }

    @Test("symlinks that lengthen every path cannot make endless work, nor a tree that is too deep")
    func amplification() throws {
        let long = (0..<1000).map { _ in "a" }.joined(separator: "/")
        try expect(
            .limit, "deep",
            [TarBuilder.archive([.symlink("s", to: long), .symlink("s/t", to: long), .file("s/t/x")])])
        var limits = Limits()
        limits.metadataBytes = 100_000
        let through = (0..<200).map { Member.file("s/x\($0)") }
        try expect(.limit, "limit", limits: limits, [TarBuilder.archive([.symlink("s", to: long)] + through)])
    }

    @Test("an image that is too small says so with the cause")
    func tooSmall() throws {
        try withTemporaryDirectory { directory in
            let image = directory / "image".utf8
            try write([], to: image)
            let handle = try FileHandle(forUpdating: URL(fileURLWithPath: String(decoding: image, as: UTF8.self)))
            defer { try? handle.close() }
            var format = testFormat
            format.size = 1 << 20
            let error = failure { () throws(RootFSError) in
                _ = try Converter(temporaryDirectory: "/tmp").convert(
                    layers: [Layer(DecodingTests.archive)], into: handle.fileDescriptor, format: format)
            }
            #expect(error?.code == .output)
            #expect(error?.cause is EXT4Error)
        }
    }

    @Test("a temporary directory that cannot be written to is named in the error")
    func noTemporaryDirectory() throws {
        let large = Member("f", .file([UInt8](repeating: 1, count: 9 << 20)))
        let descriptor = try makeMemoryFile()
        defer { close(descriptor) }
        let error = failure { () throws(RootFSError) in
            _ = try Converter(temporaryDirectory: "/nonexistent/place").convert(
                layers: [Layer(TarBuilder.archive([large])), Layer(TarBuilder.archive([.mark(".wh.f")]))],
                into: descriptor, format: testFormat)
        }
        #expect(error?.code == .output && error?.entry == "f")
        #expect(error?.message.contains("/nonexistent/place: No such file") == true)
    }

    @Test("nothing is left in the temporary directory, after an error either")
    func nothingLeft() throws {
        try withTemporaryDirectory { directory in
            let large = Member("f", .file([UInt8](repeating: 1, count: 9 << 20)))
            let lower = TarBuilder.archive([large, .hardLink("g", to: "f"), .file("../x")])
            let layers = [Layer(lower), Layer(TarBuilder.archive([.mark(".wh.f")]))]
            #expect(throws: RootFSError.self) { try convert(layers, to: directory / "image".utf8) }
            let left = try names(in: directory)
            #expect(left == [Array("image".utf8)])
        }
    }
}
