import Foundation
import Glibc
import TestSupport
import Testing

@testable import EXT4

@Suite("snapshot diff")
struct DifferenceTests {
    private func tree() throws -> TestImage {
        let image = try TestImage()
        var generator = SeededGenerator(seed: 71)
        let stored = try (0..<8).map { try image.store(generator.bytes(10_000 * $0)) }
        image.writer.beginFile(expectedSize: 0)
        try image.writer.appendHole(100_000)
        try image.append([1])
        let sparse = try image.writer.endFile()
        let root = try image.root()
        let sub = try image.directory("sub", in: root)
        let first = try image.file("file-0", stored[0], in: root)
        for index in 1..<8 { try image.file("file-\(index)", stored[index], in: sub) }
        try image.writer.addEntry(parent: root, name: Array("hard".utf8), child: first)
        try image.file("sparse", sparse, in: root)
        try image.add("link", .symlink(target: Array("a".utf8)), mode: 0o120777, in: root)
        let gone = try image.directory("gone", in: sub)
        try image.file("below", in: gone)
        try image.finishAndCheck()
        return image
    }

    private func diff(_ old: String, _ new: String) throws -> (Int32, [String: [String]]) {
        let result = try SnapshotProgram.run("diff", "--json", old, new)
        #expect(result.errors.isEmpty, "\(result.errors)")
        var differences: [String: [String]] = [:]
        for object in try SnapshotProgram.objects(result.output) {
            let path = try #require(object["path"] as? String)
            let change = try #require(object["change"] as? String)
            let aspects = try #require(object["differs"] as? [String])
            #expect(differences[path] == nil, "\(path) is told twice")
            differences[path] = change == "changed" ? aspects : [change]
        }
        return (result.status, differences)
    }

    @Test("an image differs from itself and from its copy in nothing")
    func same() throws {
        let image = try TestImage()
        try RandomTree(seed: 72, count: 300).write(to: image)
        try image.finishAndCheck()
        for other in [image.path, try image.copy()] {
            let result = try SnapshotProgram.run("diff", image.path, other)
            #expect(result.status == 0 && result.output.isEmpty && result.errors.isEmpty, "\(result)")
        }
    }

    @Test("what Linux changed in a copy is told, each in its kind, and nothing else")
    func changes() throws {
        let image = try tree()
        let copy = try image.copy()
        try TestImage.mounted(copy, readOnly: false) { point, _ in
            let script = """
                set -eu
                cd "$1"
                keep() { touch -d @1700000000.123456789 "$@"; }
                chmod 600 sub/file-1; keep sub/file-1
                chown 7:8 sub/file-2; keep sub/file-2
                touch -d @1700000000.123456788 sub/file-3
                printf x | dd of=sub/file-4 bs=1 seek=5000 conv=notrunc status=none; keep sub/file-4
                printf x >> sub/file-5; keep sub/file-5
                setfattr -n user.x -v y sub/file-6; keep sub/file-6
                ln -sf b link; touch -h -d @1700000000.123456789 link
                cp --remove-destination --preserve=all hard other; mv other hard
                rm -r sub/gone; keep sub
                rm sub/file-7; mkdir sub/file-7; keep sub
                mkdir new; touch new/one
                dd if=/dev/zero of=sparse bs=1 seek=50000 count=9 conv=notrunc status=none; keep sparse
                keep .
                """
            let done = try run(["sh", "-c", script, "sh", point])
            try #require(done.status == 0, "\(done.errors)")
        }
        let (status, differences) = try diff(image.path, copy)
        #expect(status == 1)
        #expect(
            differences == [
                "/sub/file-1": ["mode"], "/sub/file-2": ["owner"], "/sub/file-3": ["mtime"],
                "/sub/file-4": ["content"], "/sub/file-5": ["size", "content"], "/sub/file-6": ["xattrs"],
                "/link": ["target"], "/hard": ["hardlinks"], "/sub/gone": ["removed"],
                "/sub/gone/below": ["removed"], "/sub/file-7": ["type", "mode", "mtime"], "/new": ["added"],
                "/new/one": ["added"],
            ])
        let text = try SnapshotProgram.run("diff", image.path, copy)
        #expect(text.status == 1)
        let lines = text.output.split(separator: "\n")
        #expect(lines.contains("~ /sub/file-1: mode rw-r--r-- → rw-------"), "\(text.output)")
        #expect(lines.contains("- /sub/gone/below") && lines.contains("+ /new/one"))
        #expect(lines.contains("~ /link: target a → b") && lines.contains("~ /sub/file-2: owner 0:0 → 7:8"))
        #expect(lines.count == differences.count)
    }

    @Test("two random trees differ just where two mounts do", arguments: [73, 74] as [UInt64])
    func random(seed: UInt64) throws {
        print("random trees: seeds \(seed) and \(seed + 100)")
        let images = try [seed, seed + 100].map { seed in
            let image = try TestImage()
            try RandomTree(seed: seed, count: 200).write(to: image)
            try image.finishAndCheck()
            return image
        }
        let result = try SnapshotProgram.run("diff", "--json", images[0].path, images[1].path)
        #expect(result.status == 1)
        var told: (removed: Set<[UInt8]>, added: Set<[UInt8]>, changed: Set<[UInt8]>) = ([], [], [])
        for object in try SnapshotProgram.objects(result.output) {
            let path = try SnapshotProgram.path(object)
            switch object["change"] as? String {
            case "removed": told.removed.insert(path)
            case "added": told.added.insert(path)
            default: told.changed.insert(path)
            }
        }
        func names(_ image: TestImage) throws -> Set<[UInt8]> {
            let listed = try SnapshotProgram.run("ls", "-R", "--json", image.path).output
            return Set(try SnapshotProgram.objects(listed).map { try SnapshotProgram.path($0) })
        }
        let both = try (names(images[0]), names(images[1]))
        #expect(told.removed == both.0.subtracting(both.1) && told.added == both.1.subtracting(both.0))
        #expect(told.changed.subtracting([[0x2F]]).isSubset(of: both.0.intersection(both.1)))
    }

    @Test("what is no image ends with neither 0 nor 1")
    func trouble() throws {
        let image = try tree()
        let empty = image.directory.path + "/empty"
        try Data().write(to: URL(fileURLWithPath: empty))
        for (other, status) in [("/no/such/file", 3), (empty, 5)] as [(String, Int32)] {
            for pair in [[image.path, other], [other, image.path]] {
                let refused = try SnapshotProgram.run(["diff"] + pair)
                #expect(refused.status == status && refused.errors.contains(other), "\(refused)")
            }
        }
    }
}
