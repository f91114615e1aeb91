import Foundation
import Glibc
import TestSupport
import Testing

@testable import EXT4

@Suite("snapshot ls and cat")
struct ListingTests {
    @Test("ls --json of a random tree says of every name what the kernel says", arguments: [61, 62] as [UInt64])
    func json(seed: UInt64) throws {
        print("random tree: seed \(seed), 300 nodes")
        let tree = RandomTree(seed: seed, count: 300)
        let image = try TestImage()
        try tree.write(to: image)
        try image.finishAndCheck()
        let listed = try SnapshotProgram.run("ls", "-R", "--json", "--xattrs", image.path)
        try #require(listed.status == 0, "\(listed.errors)")
        let objects = try SnapshotProgram.objects(listed.output)
        try image.mounted { point in
            let found = try run(["find", point, "-mindepth", "1", "-printf", "x"]).output.utf8.count
            #expect(objects.count == found)
            for object in objects { try compare(object, under: point) }
        }
    }

    private func compare(_ object: [String: Any], under point: String) throws {
        let path = try Array(point.utf8) + SnapshotProgram.path(object)
        var status = stat()
        try #require(withPath(path) { lstat($0, &status) } == 0, "\(object)")
        #expect(object["uid"] as? Int == Int(status.st_uid) && object["gid"] as? Int == Int(status.st_gid))
        #expect(object["links"] as? Int == Int(status.st_nlink) && object["inode"] as? Int == Int(status.st_ino))
        #expect(object["mode"] as? String == String(format: "%04o", status.st_mode & 0o7777))
        let kinds = [S_IFREG: "file", S_IFDIR: "directory", S_IFLNK: "symlink", S_IFIFO: "fifo", S_IFSOCK: "socket"]
        let kind = kinds[status.st_mode & S_IFMT]
        if let kind { #expect(object["type"] as? String == kind) }
        if kind == "file" || kind == "symlink" || kind == "directory" {
            #expect(object["size"] as? Int == status.st_size)
        }
        if kind == nil {
            let device = try #require(object["device"] as? [String: Int])
            #expect(device["major"] == Int(deviceMajor(UInt(status.st_rdev))))
            #expect(device["minor"] == Int(deviceMinor(UInt(status.st_rdev))))
        }
        var seconds = status.st_mtim.tv_sec
        var parts = tm()
        gmtime_r(&seconds, &parts)
        let time = String(
            format: "%04d-%02d-%02dT%02d:%02d:%02d.%09dZ", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
            parts.tm_hour, parts.tm_min, parts.tm_sec, status.st_mtim.tv_nsec)
        #expect(object["mtime"] as? String == time)
        if kind == "symlink" {
            let encoded = (object["targetBase64"] as? String).flatMap { Data(base64Encoded: $0) }.map { Array($0) }
            #expect(encoded ?? (object["target"] as? String).map { Array($0.utf8) } == readLink(path))
        }
        let attributes = try #require(object["xattrs"] as? [String: String])
        #expect(attributes.count == listAttributes(path).count)
        for (name, value) in attributes where name.allSatisfy(\.isASCII) && !name.contains("\\") {
            #expect(Data(base64Encoded: value).map { Array($0) } == readAttribute(path, Array(name.utf8)))
        }
    }

    /// Files, a directory of many names, links of every kind, devices.
    private func sample() throws -> TestImage {
        let image = try TestImage()
        let data = try image.store(Array("content\n".utf8))
        let root = try image.root()
        let etc = try image.directory("etc", in: root, mode: 0o1750)
        let inside = try image.file("file", data, in: etc, mode: 0o4755)
        try image.writer.addEntry(parent: root, name: Array("hard".utf8), child: inside)
        let deep = try image.directory("deep", in: etc)
        try image.add("up", .symlink(target: Array("../../../../etc/file".utf8)), mode: 0o120777, in: deep)
        try image.add("absolute", .symlink(target: Array("/etc".utf8)), mode: 0o120777, in: root)
        try image.add("loop", .symlink(target: Array("loop".utf8)), mode: 0o120777, in: root)
        try image.add("dangling", .symlink(target: Array("/nothing".utf8)), mode: 0o120777, in: root)
        try image.add("null", .characterDevice(major: 1, minor: 3), mode: 0o020666, in: root)
        try image.add("pipe", .fifo, mode: 0o010600, in: root)
        let many = try image.directory("many", in: root)
        for index in 0..<500 { try image.file("name-\(index)", in: many, mode: 0o2640) }
        try image.finishAndCheck()
        return image
    }

    @Test("the text of ls -R is the one of ls -lnAR, but for the totals")
    func text() throws {
        let image = try sample()
        let listed = try SnapshotProgram.run("ls", "-R", image.path)
        #expect(listed.status == 0, "\(listed.errors)")
        func words(_ text: String) -> [[Substring]] { text.split(separator: "\n").map { $0.split(separator: " ") } }
        try image.mounted { point in
            let script = "cd \"$1\" && LC_ALL=C TZ=UTC ls -lnAR --time-style='+%Y-%m-%d %H:%M:%S.%N' ."
            let expected = try run(["sh", "-c", script, "sh", point]).output
                .replacingOccurrences(of: "\n./", with: "\n/").replacingOccurrences(of: "\n.:", with: "\n/:")
            let wanted = words("\n" + expected).filter { $0.first != "total" }
                .map { $0 == [".:"] ? ["/:"] : $0 }
            #expect(words(listed.output) == wanted)
        }
    }

    @Test("ls of one file, of a directory itself, of what is not there")
    func single() throws {
        let image = try sample()
        let file = try SnapshotProgram.run("ls", image.path, "/absolute/file")
        #expect(file.output.hasPrefix("-rwsr-xr-x 2 0 0 8 ") && file.output.hasSuffix(" /absolute/file\n"))
        let itself = try SnapshotProgram.run("ls", "-d", image.path, "etc")
        #expect(itself.output.hasPrefix("drwxr-x--T 3 0 0 4096 "), "\(itself.output)")
        let through = try SnapshotProgram.run("ls", image.path, "/absolute/")
        #expect(through.output.contains(" file\n") && through.output.contains(" deep\n"))
        for path in ["/nothing", "/etc/file/below", "/loop/x", "/dangling/x"] {
            let refused = try SnapshotProgram.run("ls", image.path, path)
            #expect(refused.status == 3 && refused.errors.contains(path), "\(refused)")
        }
    }

    @Test("names that would disturb a terminal are written as octal digits, and can be asked for as they are")
    func hostileNames() throws {
        let image = try TestImage()
        let data = try image.store([UInt8](0...255))
        let root = try image.root()
        let name: [UInt8] = [0x1B, 0x5B, 0x32, 0x4A, 0xFF, 0x0A, 0x5C] + Array("\u{202E}\u{E9}".utf8)
        let number = try image.writer.addInode(Attributes(mode: 0o100644, modified: TestImage.time), .file(data))
        try image.writer.addEntry(parent: root, name: name, child: number)
        try image.finishAndCheck()
        let listed = try SnapshotProgram.run("ls", image.path)
        #expect(listed.output.contains(" \\033[2J\\377\\012\\\\\\342\\200\\256\u{E9}\n"), "\(listed.output)")
        let script = "exec \"$0\" cat \"$1\" \"$(printf '\\033[2J\\377\\n\\\\\\342\\200\\256\\303\\251')\" | sha256sum"
        let sums = try (
            run(["bash", "-c", script, SnapshotProgram.path, image.path]).output,
            run(["bash", "-c", "for i in {0..255}; do printf \"\\\\x$(printf %x $i)\"; done | sha256sum"]).output
        )
        #expect(sums.0 == sums.1)
    }

    @Test("cat gives the bytes of every file that a mount shows, holes as zeros")
    func cat() throws {
        let image = try TestImage()
        image.writer.beginFile(expectedSize: 0)
        try image.writer.appendHole(3 << 20)
        try image.append(Array("middle".utf8))
        try image.writer.appendHole((5 << 20) + 17)
        let sparse = try image.writer.endFile()
        var generator = SeededGenerator(seed: 5)
        let data = try image.store(generator.bytes(3_000_001))
        let root = try image.root()
        try image.file("sparse", sparse, in: root)
        try image.file("data", data, in: root)
        try image.file("empty", in: root)
        try image.finishAndCheck()
        try image.mounted { point in
            for name in ["sparse", "data", "empty"] {
                let script = "\"$0\" cat \"$1\" \"$2\" | cmp - \"$3/$2\""
                let compared = try run(["bash", "-c", script, SnapshotProgram.path, image.path, name, point])
                #expect(compared.status == 0, "\(name): \(compared.output)\(compared.errors)")
            }
        }
        // Who reads may go away: the signal ends the program, as it ends cat(1).
        let left = try run([
            "bash", "-c", "\"$0\" cat \"$1\" sparse | head -c 10 >/dev/null; echo ${PIPESTATUS[0]}",
            SnapshotProgram.path,
            image.path,
        ])
        #expect(left.output == "141\n" && left.errors.isEmpty, "\(left)")
        let full = try run(["bash", "-c", "\"$0\" cat \"$1\" data >/dev/full", SnapshotProgram.path, image.path])
        #expect(full.status == 1 && full.errors.contains("No space left"), "\(full)")
    }

    @Test("cat follows links inside of the image only, and refuses what has no content")
    func catLinks() throws {
        let image = try sample()
        for path in ["/etc/file", "hard", "/etc/deep/up", "/absolute/file", "/../../etc/./file", "/absolute/deep/up"] {
            let shown = try SnapshotProgram.run("cat", image.path, path)
            #expect(shown.status == 0 && shown.output == "content\n", "\(path): \(shown)")
        }
        for (path, status, words) in [
            ("/etc", 1, "directory"), ("/null", 1, "character-device"), ("/pipe", 1, "fifo"),
            ("/loop", 3, "symbolic links"), ("/dangling", 3, "no such file"), ("/etc/file/", 3, "not a directory"),
        ] as [(String, Int32, String)] {
            let refused = try SnapshotProgram.run("cat", image.path, path)
            #expect(refused.status == status && refused.output.isEmpty, "\(path): \(refused)")
            #expect(refused.errors.contains(words), "\(path): \(refused)")
        }
    }
}
