import Foundation
import Glibc
import TestSupport
import Testing

@testable import EXT4

@Suite("attributes")
struct AttributeTests {
    private func status(_ path: String) throws -> stat {
        var result = stat()
        try #require(lstat(path, &result) == 0, "\(path) is missing")
        return result
    }

    @Test("every kind of inode has its type, mode and device number")
    func kinds() throws {
        let image = try TestImage()
        let root = try image.root(mode: 0o1777)
        let devices: [(UInt32, UInt32)] = [
            (1, 3), (5, 1), (255, 255), (256, 0), (0, 256), (4095, 1_048_575), (8, 300), (0, 0),
        ]
        for (major, minor) in devices {
            try image.add("c-\(major)-\(minor)", .characterDevice(major: major, minor: minor), mode: 0o020640, in: root)
            try image.add("b-\(major)-\(minor)", .blockDevice(major: major, minor: minor), mode: 0o060600, in: root)
        }
        try image.add("fifo", .fifo, mode: 0o010622, in: root)
        try image.add("socket", .socket, mode: 0o140777, in: root)
        try image.file("setuid", in: root, mode: 0o4755)
        try image.file("setgid", in: root, mode: 0o2755)
        try image.file("none", in: root, mode: 0)
        try image.finishAndCheck()
        try image.mounted { point in
            let modes = try ["", "/fifo", "/socket", "/setuid", "/setgid", "/none"].map {
                try status(point + $0).st_mode
            }
            #expect(modes == [0o041777, 0o010622, 0o140777, 0o104755, 0o102755, 0o100000])
            for (major, minor) in devices {
                for (letter, mode) in [("c", UInt32(0o020640)), ("b", UInt32(0o060600))] {
                    let found = try status("\(point)/\(letter)-\(major)-\(minor)")
                    #expect(found.st_mode == mode)
                    #expect(deviceMajor(found.st_rdev) == major)
                    #expect(deviceMinor(found.st_rdev) == minor)
                }
            }
        }
    }

    @Test(
        "an image may be dated in any year: e2fsck doubts no clock, the kernel mounts it",
        arguments: [0, 1, 4_102_444_800, 4_294_967_296, Timestamp.latestUndoubted.seconds])
    func dates(date: Int64) throws {
        let image = try TestImage(timestamp: date)
        _ = try image.root()
        try image.finishAndCheck()
        #expect(try TestImage.reading(image.path) { $0.information.made } == date)
        try image.mounted { point in
            var status = stat()
            #expect(stat(point + "/lost+found", &status) == 0 && status.st_mtim.tv_sec == Int(date))
        }
        let copy = try image.copy()
        try TestImage.mounted(copy, readOnly: false) { point, _ in
            #expect(mkdir(point + "/new", 0o755) == 0)
        }
        try TestImage.check(copy)
    }

    @Test("owners have 32 bits and times go from 1901 to 2446 with nanoseconds")
    func ownersAndTimes() throws {
        let image = try TestImage()
        let root = try image.root()
        let times: [Timestamp] = [
            Timestamp(seconds: -2_147_483_648), Timestamp(seconds: -2_147_483_648, nanoseconds: 999_999_999),
            Timestamp(seconds: -1, nanoseconds: 1), Timestamp(seconds: 0), Timestamp(seconds: 2_147_483_647),
            Timestamp(seconds: 2_147_483_648, nanoseconds: 5), Timestamp(seconds: 4_294_967_296),
            Timestamp(seconds: 6_442_450_944), Timestamp(seconds: 10_737_418_239),
            Timestamp(seconds: 15_032_385_535, nanoseconds: 999_999_999),
        ]
        for (index, time) in times.enumerated() {
            let number = try image.writer.addInode(
                Attributes(mode: 0o100644, uid: .max - 1 - UInt32(index), gid: 65536 + UInt32(index), modified: time),
                .file(FileData()))
            try image.writer.addEntry(parent: root, name: Array("\(index)".utf8), child: number)
        }
        let beyond = try image.writer.addInode(
            Attributes(mode: 0o100644, modified: Timestamp(seconds: .min)), .file(FileData()))
        try image.writer.addEntry(parent: root, name: Array("beyond".utf8), child: beyond)
        try image.finishAndCheck()
        try image.mounted { point in
            for (index, time) in times.enumerated() {
                let found = try status("\(point)/\(index)")
                #expect(found.st_uid == .max - 1 - UInt32(index))
                #expect(found.st_gid == 65536 + UInt32(index))
                for stamp in [found.st_mtim, found.st_ctim, found.st_atim] {
                    #expect(Int64(stamp.tv_sec) == time.seconds)
                    #expect(UInt32(stamp.tv_nsec) == time.nanoseconds)
                }
            }
            let beyond = try status("\(point)/beyond")
            #expect(beyond.st_mtim.tv_sec == -2_147_483_648)
        }
    }

    private func attribute(_ name: String, _ value: [UInt8]) -> ExtendedAttribute {
        ExtendedAttribute(name: Array(name.utf8), value: value)
    }

    private func read(_ path: String, _ name: String) -> [UInt8]? {
        readAttribute(Array(path.utf8), Array(name.utf8))
    }

    private func list(_ path: String) -> Set<String> {
        Set(listAttributes(Array(path.utf8)).map { String(decoding: $0, as: UTF8.self) })
    }

    @Test("extended attributes are kept in the inode, in a block, and in both")
    func extendedAttributes() throws {
        let image = try TestImage()
        let root = try image.root()
        let sets: [[ExtendedAttribute]] = [
            [attribute("user.small", Array("value".utf8))],
            [attribute("user.empty", [])],
            [attribute("user.exact", Array(repeating: 7, count: 60))],
            [attribute("user.large", Array(repeating: 9, count: 1000))],
            [attribute("user.largest", Array(repeating: 3, count: 4096 - 32 - 4 - 24))],
            (0..<30).map { attribute("user.many-\($0)", Array(repeating: UInt8($0), count: $0 * 3)) },
            [
                attribute("trusted.one", [1]), attribute("security.two", [2, 2]), attribute("user.three", [3, 3, 3]),
                attribute("user.\u{e9}\u{20ac}", Array(repeating: 4, count: 200)),
            ],
        ]
        for (index, set) in sets.enumerated() {
            try image.file("file-\(index)", in: root, xattrs: set)
        }
        try image.add(
            "link", .symlink(target: Array("file-0".utf8)), mode: 0o120777, in: root,
            xattrs: [attribute("trusted.on-link", Array(repeating: 5, count: 300)), attribute("security.x", [1])])
        let directory = try image.writer.addInode(
            Attributes(mode: 0o040755, modified: TestImage.time, xattrs: sets[3] + sets[0]), .directory)
        try image.writer.addEntry(parent: root, name: Array("directory".utf8), child: directory)
        try image.finishAndCheck()
        try image.mounted { point in
            for (index, set) in sets.enumerated() {
                let path = "\(point)/file-\(index)"
                #expect(list(path) == Set(set.map { String(decoding: $0.name, as: UTF8.self) }))
                for attribute in set {
                    #expect(read(path, String(decoding: attribute.name, as: UTF8.self)) == attribute.value)
                }
            }
            #expect(read(point + "/link", "trusted.on-link")?.count == 300)
            #expect(read(point + "/link", "security.x") == [1])
            #expect(list(point + "/directory") == ["user.small", "user.large"])
            let shown = try run(["getfattr", "-h", "-d", "-m", "-", point + "/file-6"]).output
            #expect(shown.contains("trusted.one=") && shown.contains("security.two="))
        }
        // Changed by the kernel, they are still what e2fsck accepts.
        let copy = try image.copy()
        try TestImage.mounted(copy, readOnly: false) { point, _ in
            for index in sets.indices {
                let status = try run(["setfattr", "-n", "user.new", "-v", "n", "\(point)/file-\(index)"]).status
                #expect(status == 0 || index == 4)
            }
        }
        try TestImage.check(copy)
    }

    @Test("values that no block has room for get inodes of their own: e2fsck, the kernel and our reader see them")
    func valueInodes() throws {
        var generator = SeededGenerator(seed: 55)
        let sets: [[ExtendedAttribute]] = [
            [attribute("user.over", Array(repeating: 1, count: 4096 - 32 - 4 - 20 + 1))],
            [attribute("user.block", generator.bytes(4096))],
            [attribute("user.largest", generator.bytes(65536)), attribute("security.small", [1, 2, 3])],
            [
                attribute("user.three", generator.bytes(3000)), attribute("user.two", generator.bytes(2000)),
                attribute("trusted.one", generator.bytes(1000)),
            ],
            (0..<40).map { attribute("user.many-\($0)", generator.bytes(5000 + $0)) },
        ]
        let image = try TestImage()
        let root = try image.root()
        for (index, set) in sets.enumerated() {
            try image.file("file-\(index)", in: root, xattrs: set)
            let directory = try image.writer.addInode(
                Attributes(mode: 0o040755, modified: TestImage.time, xattrs: set), .directory)
            try image.writer.addEntry(parent: root, name: Array("directory-\(index)".utf8), child: directory)
        }
        let summary = try image.finishAndCheck()
        #expect(summary.usedInodes == 11 + 10 + 2 * (1 + 1 + 1 + 1 + 40))
        #expect(try image.header().contains(" ea_inode "))
        try TestImage.reading(image.path) { reader in
            for (index, set) in sets.enumerated() {
                let inode = try #require(try reader.inode(at: [Array("file-\(index)".utf8)]))
                #expect(Set(try reader.extendedAttributes(of: inode)) == Set(set))
            }
        }
        func check(_ point: String, _ index: Int) {
            for name in ["file", "directory"] {
                let path = Array("\(point)/\(name)-\(index)".utf8)
                for attribute in sets[index] {
                    #expect(readAttribute(path, attribute.name) == attribute.value, "\(name)-\(index)")
                }
            }
        }
        try image.mounted { point in
            for index in sets.indices { check(point, index) }
        }
        // Linux goes on with them: it changes one, and removes two with all they had.
        let copy = try image.copy()
        try TestImage.mounted(copy, readOnly: false) { point, _ in
            let script = "cd $1 && setfattr -n user.block -v new file-1 && rm file-2 && rmdir directory-4"
            let changed = try run(["sh", "-c", script, "sh", point])
            #expect(changed.status == 0, "\(changed.errors)")
            #expect(readAttribute(Array("\(point)/file-1".utf8), Array("user.block".utf8)) == Array("new".utf8))
            check(point, 0)
            check(point, 3)
        }
        try TestImage.check(copy)
        let report = try TestImage.reading(copy) { try $0.verify(freeBlocksReadZero: false) }
        #expect(report.isSound, "\(report.problems)")
    }

    @Test("a value in an inode of its own has checksums like all else")
    func damagedValue() throws {
        let image = try TestImage()
        let value = [UInt8](repeating: 77, count: 9000)
        try image.file("file", in: image.root(), xattrs: [attribute("user.x", value)])
        try image.finishAndCheck()
        let place = try run(["grep", "-abo", "-m", "1", "MMMMMMMM", image.path]).output
        let offset = try #require(Int(place.prefix { $0 != ":" }))
        let descriptor = open(image.path, O_RDWR)
        defer { close(descriptor) }
        try #require(pwrite(descriptor, "N", 1, off_t(offset + 5000)) == 1)
        let report = try ImageReader(fileDescriptor: descriptor).verify()
        #expect(report.problems.contains { $0.contains("hash of the attribute's value") }, "\(report.problems)")
    }

    @Test("inodes with the same large attributes share a block, up to 1024 of them")
    func sharedBlocks() throws {
        let image = try TestImage()
        let root = try image.root()
        let value = Array(repeating: UInt8(8), count: 500)
        for index in 0..<3000 {
            try image.file("file-\(index)", in: root, xattrs: [attribute("user.shared", value)])
        }
        for index in 0..<1500 {
            let own = Array(repeating: UInt8(truncatingIfNeeded: index), count: 200 + index)
            for copy in 0..<2 {
                try image.file("own-\(index)-\(copy)", in: root, xattrs: [attribute("user.own", own)])
            }
        }
        try image.finishAndCheck()
        try image.mounted { point in
            for index in [0, 1023, 1024, 2999] {
                #expect(read("\(point)/file-\(index)", "user.shared") == value)
            }
        }
    }

    @Test("capabilities and ACLs are what getcap and getfacl show")
    func capabilitiesAndACLs() throws {
        let image = try TestImage()
        let root = try image.root()
        let netRaw: [UInt8] = [1, 0, 0, 2, 0, 0x20, 0, 0] + Array(repeating: 0, count: 12)
        try image.file("ping", in: root, mode: 0o755, xattrs: [attribute("security.capability", netRaw)])
        func entry(_ tag: UInt8, _ permissions: UInt8, _ id: UInt32 = .max) -> [UInt8] {
            [tag, 0, permissions, 0] + (0..<4).map { UInt8(truncatingIfNeeded: id >> (8 * $0)) }
        }
        let acl =
            [2, 0, 0, 0] + entry(1, 6) + entry(2, 7, 1234) + entry(2, 4, 70000) + entry(4, 4) + entry(8, 5, 4321)
            + entry(16, 7) + entry(32, 0)
        try image.file("acl", in: root, mode: 0o670, xattrs: [attribute("system.posix_acl_access", acl)])
        let directory = try image.writer.addInode(
            Attributes(
                mode: 0o040755, modified: TestImage.time,
                xattrs: [attribute("system.posix_acl_default", acl), attribute("user.more", [1])]), .directory)
        try image.writer.addEntry(parent: root, name: Array("directory".utf8), child: directory)
        try image.finishAndCheck()
        try image.mounted { point in
            let capabilities = try run(["getcap", point + "/ping"]).output
            #expect(capabilities.contains("cap_net_raw=ep"))
            let shown = try run(["getfacl", "-n", "-c", "-p", point + "/acl"]).output
            let lines =
                "user::rw-\nuser:1234:rwx\nuser:70000:r--\ngroup::r--\ngroup:4321:r-x\nmask::rwx\nother::---\n\n"
            #expect(shown == lines)
            let defaults = try run(["getfacl", "-n", "-c", "-p", "-d", point + "/directory"]).output
            #expect(defaults.replacingOccurrences(of: "default:", with: "") == lines)
            #expect(read(point + "/acl", "system.posix_acl_access") == acl)
        }
    }
}
