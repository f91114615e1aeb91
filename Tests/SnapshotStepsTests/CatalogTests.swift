import Files
import Foundation
import GRDB
import Glibc
import HelperInterface
import Testing

@testable import SnapshotSteps

/// A state directory that goes away with the test.
final class TestState: Sendable {
    let state: StateDirectory
    let catalog: Catalog

    init() throws {
        state = try StateDirectory(opening: NSTemporaryDirectory() + "snapwf-catalog-\(UUID().uuidString)")
        catalog = try Catalog(state: state)
    }

    deinit { try? removeTree(state.path) }

    /// A file as a helper leaves it, and what the helper says of it.
    func made(_ name: String, key: String = "0123456789abcdef0123", bytes: [UInt8] = Array("image".utf8)) throws
        -> (file: String, result: PullResult)
    {
        let file = state.path + "/" + name
        try writeFile(file, bytes, mode: 0o600)
        let (hex, size) = try sha256(of: OpenFile(file, O_RDONLY))
        return (
            file,
            PullResult(
                output: file, sha256: hex, size: size, uuid: "u", key: key, image: "i@sha256:0",
                manifestDigest: "sha256:0", platform: "linux/amd64", entries: 1, layerBytes: 1, warnings: [],
                config: "{}")
        )
    }

    var names: [String] { (try? directoryNames(state.snapshots)) ?? [] }
}

struct CatalogTests {
    @Test("a registered snapshot is found by its key, with its bytes, and the helper's file is gone")
    func register() async throws {
        let test = try TestState()
        let (file, result) = try test.made("a")
        #expect(try await test.catalog.snapshot(forKey: result.key) == nil)
        let snapshot = try await test.catalog.register(result, file: file, runID: "run1")
        #expect(try await test.catalog.snapshot(forKey: result.key)?.id == snapshot.id)
        #expect(try readFile(snapshot.path, limit: 100) == Array("image".utf8))
        #expect(!fileExists(file))
        #expect(test.names == [snapshot.id])
    }

    @Test("registering again gives the same snapshot, also after the file was moved away")
    func again() async throws {
        let test = try TestState()
        let (file, result) = try test.made("a")
        let first = try await test.catalog.register(result, file: file, runID: "run1")
        let second = try await test.catalog.register(result, file: file, runID: "run1")
        #expect(first.id == second.id)
        #expect(try await test.catalog.snapshots().count == 1)
    }

    @Test("two runs that end with one key at once leave one file and one row")
    func atOnce() async throws {
        let test = try TestState()
        let made = try (0..<8).map { try test.made("file\($0)") }
        let ids = try await withThrowingTaskGroup(of: String.self) { group in
            for (number, (file, result)) in made.enumerated() {
                group.addTask { try await test.catalog.register(result, file: file, runID: "run\(number)").id }
            }
            return try await group.reduce(into: Set<String>()) { $0.insert($1) }
        }
        #expect(ids.count == 1)
        #expect(try await test.catalog.snapshots().count == 1)
        #expect(test.names == Array(ids))
    }

    @Test("a file that is not what the helper said is refused and leaves nothing visible")
    func damaged() async throws {
        let test = try TestState()
        let (file, result) = try test.made("a")
        try writeFile(file, Array("imagE".utf8), mode: 0o600)
        let error = await #expect(throws: SnapshotError.self) {
            try await test.catalog.register(result, file: file, runID: "run1")
        }
        #expect(error?.code == .snapshotDamaged)
        #expect(try await test.catalog.snapshots().isEmpty)
        #expect(test.names.isEmpty)
    }

    @Test("a symbolic link in place of the image is not followed")
    func link() async throws {
        let test = try TestState()
        let (file, result) = try test.made("a")
        let other = test.state.path + "/other"
        #expect(rename(file, other) == 0 && symlink(other, file) == 0)
        await #expect(throws: SnapshotError.self) {
            try await test.catalog.register(result, file: file, runID: "run1")
        }
        #expect(fileExists(other))
        #expect(try await test.catalog.snapshots().isEmpty)
    }

    @Test("a snapshot whose file is gone or shorter is no snapshot any more")
    func halfCopied() async throws {
        let test = try TestState()
        let (file, result) = try test.made("a")
        let snapshot = try await test.catalog.register(result, file: file, runID: "run1")
        #expect(truncate(snapshot.path, 1) == 0)
        #expect(try await test.catalog.snapshot(forKey: result.key) == nil)
        let (again, _) = try test.made("b")
        let second = try await test.catalog.register(result, file: again, runID: "run2")
        #expect(try readFile(second.path, limit: 100) == Array("image".utf8))
        #expect(try await test.catalog.snapshot(forKey: result.key)?.id == snapshot.id)
    }

    @Test("damage that keeps the size is mended by registering anew")
    func mended() async throws {
        let test = try TestState()
        let (file, result) = try test.made("a")
        let snapshot = try await test.catalog.register(result, file: file, runID: "run1")
        try writeFile(snapshot.path, Array("imagE".utf8), mode: 0o600)
        let (again, _) = try test.made("b")
        let second = try await test.catalog.register(result, file: again, runID: "run2")
        #expect(try readFile(second.path, limit: 100) == Array("image".utf8))
        #expect(test.names == [snapshot.id])
    }

    @Test("a store that is away for a while, an unmounted disk, loses nothing by being asked")
    func away() async throws {
        let test = try TestState()
        let (file, result) = try test.made("a")
        let snapshot = try await test.catalog.register(result, file: file, runID: "run1")
        #expect(rename(test.state.snapshots, test.state.snapshots + "-away") == 0)
        #expect(try await test.catalog.snapshot(forKey: result.key) == nil)
        #expect(rename(test.state.snapshots + "-away", test.state.snapshots) == 0)
        #expect(try await test.catalog.snapshot(forKey: result.key)?.id == snapshot.id)
        #expect(try await test.catalog.unregistered().isEmpty)
    }

    @Test("what a dead registration left is listed with its run, and can be removed")
    func unregistered() async throws {
        let test = try TestState()
        try makeDirectories(test.state.snapshots + "/.incoming-run7", mode: 0o700)
        let left = try await test.catalog.unregistered()
        #expect(left.map(\.runID) == ["run7"])
        for directory in left { try await test.catalog.remove(directory) }
        #expect(test.names.isEmpty)
    }

    @Test("the owner's id is made once and stays")
    func owner() throws {
        let test = try TestState()
        #expect(try test.state.owner() == test.state.owner())
        #expect(try StateDirectory(opening: test.state.path).owner() == test.state.owner())
    }

    @Test(
        "a catalog is looked through without a change: sound, damaged, cut off in a write, of a newer version, absent")
    func integrity() async throws {
        let test = try TestState()
        let (file, result) = try test.made("a")
        _ = try await test.catalog.register(result, file: file, runID: "run1")
        let path = test.state.catalogDatabase
        #expect(try await Catalog.problems(in: test.state) == [])

        let copy = StateDirectory(reading: test.state.path + "/copy")
        #expect(try await Catalog.problems(in: copy) == nil)
        #expect(!fileExists(copy.path))
        try makeDirectories(copy.path, mode: 0o700)
        let queue = try DatabaseQueue(path: path)
        try await queue.writeWithoutTransaction { database in
            // Too little room in memory: pages reach the file, and what they replace the journal.
            try database.execute(sql: "PRAGMA cache_size = 1; CREATE TABLE junk (x); BEGIN IMMEDIATE")
            for _ in 0..<50 { try database.execute(sql: "INSERT INTO junk VALUES (randomblob(5000))") }
            for suffix in ["", "-journal"] {
                try FileManager.default.copyItem(atPath: path + suffix, toPath: copy.catalogDatabase + suffix)
            }
            try database.execute(sql: "ROLLBACK")
        }
        let cutOff = await #expect(throws: SnapshotError.self) { try await Catalog.problems(in: copy) }
        #expect(cutOff?.isRetryable == true)
        #expect(fileExists(copy.catalogDatabase + "-journal"))
        _ = try Catalog(state: copy)
        #expect(try await Catalog.problems(in: copy) == [])

        var bytes = try #require(try readFile(copy.catalogDatabase, limit: 1 << 20))
        for index in 4096..<(4096 * 2) { bytes[index] = ~bytes[index] }
        try writeFile(copy.catalogDatabase, bytes, mode: 0o600)
        #expect(try await Catalog.problems(in: copy)?.isEmpty == false)

        try await queue.write { try $0.execute(sql: "INSERT INTO grdb_migrations VALUES ('v9999')") }
        let newer = await #expect(throws: SnapshotError.self) { try await Catalog.problems(in: test.state) }
        #expect(newer?.code == .catalogNewerThanProgram)
    }
}
