import Files
import Foundation
import Glibc
import HelperInterface
import Testing
import WorkflowTesting

@testable import SnapshotSteps

@Suite("A store and its catalog, together and apart")
struct CatalogStoreTests {
    @Test(
        "runs that end with one key at once, beside collections and removals, leave one file and one row",
        arguments: [UInt64(11), 12, 13])
    func oneOfMany(seed: UInt64) async throws {
        var random = SeededGenerator(seed: seed)
        let test = try TestState()
        for round in 0..<25 {
            let made = try (0..<4).map { try test.made("file\(round)-\($0)") }
            let removes = Bool.random(using: &random)
            let delays = (0..<6).map { _ in UInt32.random(in: 0..<3000, using: &random) }
            let ids = try await withThrowingTaskGroup(of: String?.self) { group in
                for (number, (file, result)) in made.enumerated() {
                    group.addTask {
                        usleep(delays[number])
                        // A database of its own, as another process has.
                        let catalog = try Catalog(state: test.state)
                        return try await catalog.register(result, file: file, runID: "run\(round)-\(number)").id
                    }
                }
                group.addTask {
                    usleep(delays[4])
                    let catalog = try Catalog(state: test.state)
                    // Whole directories without a row are what a collector that is wrong would take.
                    for left in try await catalog.unregistered() where left.kind != .other {
                        if case .incoming = left.kind { continue }
                        try await catalog.remove(left)
                    }
                    if removes, let known = try await catalog.snapshots().first {
                        try await catalog.remove(known, if: .none)
                    }
                    return nil
                }
                return try await group.reduce(into: Set<String>()) { if let id = $1 { $0.insert(id) } }
            }
            #expect(ids.count == 1, "seed \(seed), round \(round)")
            let rows = try await test.catalog.snapshots()
            // A removal may have come last; then both are gone.
            #expect(rows.count == (removes ? test.snapshotNames.count : 1), "seed \(seed), round \(round)")
            #expect(test.snapshotNames == rows.map(\.id), "seed \(seed), round \(round)")
            for row in rows {
                #expect(try await test.catalog.verify(row) == [], "seed \(seed), round \(round)")
                try await test.catalog.remove(row, if: .none)
            }
            for left in try await test.catalog.unregistered() { try await test.catalog.remove(left) }
            #expect(test.names.isEmpty, "seed \(seed), round \(round)")
        }
    }

    @Test("verify says what is wrong: bytes, size, kind, a missing file, a missing document")
    func verify() async throws {
        let damages: [(String, (Snapshot) throws -> Void)] = [
            ("its SHA-256 is", { try writeFile($0.path, Array("imagE".utf8), mode: 0o600) }),
            ("has 1 bytes and should have 5", { _ = truncate($0.path, 1) }),
            ("is missing", { _ = unlink($0.path) }),
            (
                "is no regular file",
                {
                    _ = rename($0.path, $0.path + ".moved")
                    _ = symlink($0.path + ".moved", $0.path)
                }
            ),
            ("its directory", { try removeTree(parentDirectory(of: $0.path)) }),
            ("its document snapshot.json is missing", { _ = unlink(parentDirectory(of: $0.path) + "/snapshot.json") }),
            (
                "its document snapshot.json is missing",
                { try writeFile(parentDirectory(of: $0.path) + "/snapshot.json", [0xFF], mode: 0o600) }
            ),
        ]
        for (words, damage) in damages {
            let test = try TestState()
            let snapshot = try await test.registered()
            #expect(try await test.catalog.verify(snapshot) == [])
            try damage(snapshot)
            let problems = try await test.catalog.verify(snapshot)
            #expect(problems.count == 1 && problems[0].contains(words), "\(words): \(problems)")
            // Whatever it is, making the snapshot anew mends it.
            _ = try await test.registered("again")
            #expect(try await test.catalog.verify(snapshot) == [], "\(words)")
            #expect(test.names == [snapshot.id])
        }
    }

    @Test("an audit names rows without their file and whole snapshots without a row, and changes nothing")
    func audit() async throws {
        let test = try TestState()
        let kept = try await test.registered("a", key: "aaaa000011112222")
        let shorter = try await test.registered("b", key: "bbbb000011112222")
        let lost = try await test.registered("c", key: "cccc000011112222")
        let gone = try await test.registered("d", key: "dddd000011112222")
        _ = truncate(shorter.path, 2)
        try await test.forget(lost)
        try removeTree(parentDirectory(of: gone.path))
        let audit = try await Catalog.audit(in: test.state)
        #expect(audit.snapshots == 3)
        #expect(audit.broken.map(\.id) == [shorter.id, gone.id])
        #expect(audit.unknown == [lost.id])
        #expect(test.names == [kept.id, shorter.id, lost.id])
        let none = TestDirectory()
        let empty = try await Catalog.audit(in: StateDirectory(reading: none.path))
        #expect(empty.snapshots == 0 && empty.broken.isEmpty && empty.unknown.isEmpty && !fileExists(none.path))
    }

    @Test("a store without its database is taken in again, but only what is whole by its bytes")
    func takenBack() async throws {
        let test = try TestState()
        let snapshot = try await test.registered("a", key: "aaaa000011112222")
        let damaged = try await test.registered("b", key: "bbbb000011112222")
        try await test.forget(snapshot)
        try await test.forget(damaged)
        try writeFile(damaged.path, Array("imagE".utf8), mode: 0o600)
        let back = try await test.catalog.takeBack(snapshot.id)
        #expect(
            back.sha256 == snapshot.sha256 && back.origin == snapshot.origin && back.createdAt == snapshot.createdAt)
        #expect(try await test.catalog.takeBack(snapshot.id).id == snapshot.id)
        let refused = await #expect(throws: SnapshotError.self) { try await test.catalog.takeBack(damaged.id) }
        #expect(refused?.code == .snapshotDamaged)
        for name in ["snap-none", "..", "", ".incoming-x"] {
            let unknown = await #expect(throws: SnapshotError.self) { try await test.catalog.takeBack(name) }
            #expect(unknown?.code == .snapshotNotFound, "\(name)")
        }
        #expect(try await test.catalog.snapshots().map(\.id) == [snapshot.id])
    }

    @Test("a document that names another directory, or a key that is a path, makes no snapshot of its directory")
    func hostileDocument() async throws {
        let test = try TestState()
        let snapshot = try await test.registered()
        try await test.forget(snapshot)
        let path = parentDirectory(of: snapshot.path) + "/snapshot.json"
        let text = String(decoding: try #require(try readFile(path, limit: 1 << 20)), as: UTF8.self)
        for (from, to) in [
            (snapshot.key, "../../../../etc"), ("\"\(snapshot.id)\"", "\"snap-ffff000011112222\""),
            ("\"size\"", "\"sise\""),
        ] {
            try writeFile(path, Array(text.replacing(from, with: to).utf8), mode: 0o600)
            #expect(try await Catalog.audit(in: test.state).unknown.isEmpty)
            #expect(try await test.catalog.unregistered().map(\.kind) == [.other])
        }
    }

    @Test("a run's own ruin is replaced in place: who uses the snapshot keeps it from being removed")
    func replacedInUse() async throws {
        let test = try TestState()
        let snapshot = try await test.registered()
        let use = try await test.catalog.use(snapshot, for: "boot")
        try writeFile(snapshot.path, Array("imagE".utf8), mode: 0o600)
        _ = try await test.registered("b", run: "run2")
        #expect(try readFile(snapshot.path, limit: 100) == Array("image".utf8))
        let refused = await #expect(throws: SnapshotError.self) {
            try await test.catalog.remove(snapshot, if: .none)
        }
        #expect(refused?.code == .snapshotInUse)
        use.end()
    }
}

@Suite("Which snapshots are kept")
struct SnapshotRetentionTests {
    private func snapshot(usedAt time: Int64, names: [String] = []) -> Snapshot {
        var snapshot = Snapshot(
            PullResult(
                output: "", sha256: "", size: 0, uuid: "", key: "0123456789abcdef", image: "", manifestDigest: "",
                platform: "", entries: 0, layerBytes: 0, warnings: [], config: ""), origin: .run("r"), at: time)
        snapshot.names = names
        return snapshot
    }

    private func keeps(
        _ retention: SnapshotRetention, _ snapshot: Snapshot, rank: Int = 5, holders: [SnapshotHolder]? = nil,
        now: Int64 = 10_000_000
    ) -> Bool {
        if case .keep = retention.verdict(on: snapshot, rank: rank, holders: holders, now: now) { true } else { false }
    }

    @Test("by number, by age, by both; never one in use, a named one only when that is said")
    func verdicts() {
        let old = snapshot(usedAt: 1_000_000)
        #expect(keeps(.init(keep: 6), old) && !keeps(.init(keep: 5), old))
        #expect(!keeps(.init(keep: 0), old, rank: 0))
        #expect(keeps(.init(olderThan: 9_000_000), old) && !keeps(.init(olderThan: 8_999_999), old))
        #expect(keeps(.init(keep: 6, olderThan: 1), old) && keeps(.init(keep: 1, olderThan: 9_000_000), old))
        #expect(!keeps(.init(keep: 1, olderThan: 1), old))
        #expect(keeps(.init(), old))
        let named = snapshot(usedAt: 0, names: ["a"])
        #expect(keeps(.init(keep: 0), named) && !keeps(.init(keep: 0, includesNamed: true), named))
        #expect(keeps(.init(keep: 0, includesNamed: true), named, holders: []))
        // A clock that went back, or a row from the end of time.
        #expect(keeps(.init(olderThan: 0), old, now: 0))
        #expect(keeps(.init(olderThan: 0), snapshot(usedAt: .max), now: 0))
    }
}

extension TestState {
    /// Removes the row and leaves the files.
    func forget(_ snapshot: Snapshot) async throws {
        try await onOwnThread { [catalog] in try catalog.database.remove(key: snapshot.key) }
    }

    /// Directories of the store that are no registration's.
    var snapshotNames: [String] { names.filter { !$0.hasPrefix(".") } }
}
