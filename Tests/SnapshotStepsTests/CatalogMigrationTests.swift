import Files
import Foundation
import GRDB
import HelperInterface
import Testing

@testable import SnapshotSteps

@Suite("A catalog of an earlier version")
struct CatalogMigrationTests {
    /// A state directory as the first version left it: one row, its file, and a document of that time.
    private struct Earlier {
        static let key = String(repeating: "0123456789abcdef", count: 4)
        static let id = "snap-0123456789abcdef"
        let state: StateDirectory
        let sha256: String

        init(_ path: String) throws {
            state = try StateDirectory(opening: path)
            let directory = state.snapshots + "/" + Self.id
            try makeDirectories(directory, mode: 0o700)
            try writeFile(directory + "/rootfs.ext4", Array("image".utf8), mode: 0o600)
            sha256 = try HelperInterface.sha256(of: OpenFile(directory + "/rootfs.ext4", O_RDONLY)).hex
            let document = """
                {"config":"{}","createdAt":1700000000000,"entries":7,"id":"\(Self.id)","image":"i@sha256:0","key":"\(Self.key)",
                "lastUsedAt":1700000000000,"manifestDigest":"sha256:0","path":"\(directory)/rootfs.ext4",
                "platform":"linux/amd64","runID":"01run","sha256":"\(sha256)","size":5,"uuid":"u"}
                """
            try writeFile(directory + "/snapshot.json", Array(document.utf8), mode: 0o600)
            let queue = try DatabaseQueue(path: state.catalogDatabase)
            try CatalogSchema.migrate(
                queue, path: state.catalogDatabase, steps: Array(CatalogSchema.steps.prefix(1)))
            try queue.write { database in
                try database.execute(
                    sql: """
                        INSERT INTO snapshots VALUES (?, ?, 'i@sha256:0', 'sha256:0', 'linux/amd64', ?, 'u', 5, 7, '{}',
                        '01run', 1700000000000, 1700000000001)
                        """, arguments: [Self.key, Self.id, sha256])
            }
            try queue.close()
        }

        func expectWhole() async throws {
            let catalog = try Catalog(state: state)
            let snapshot = try #require(try await catalog.snapshots().first)
            #expect(try await catalog.snapshots().count == 1)
            #expect(snapshot.id == Self.id && snapshot.sha256 == sha256 && snapshot.entries == 7)
            #expect(snapshot.origin == .run("01run") && snapshot.createdAt == 1_700_000_000_000)
            #expect(snapshot.lastUsedAt == 1_700_000_000_001)
            #expect(snapshot.names.isEmpty && snapshot.bootMilliseconds == nil && snapshot.verity == nil)
            try await catalog.tag(snapshot, as: "old")
            #expect(try await catalog.find("old").id == Self.id)
            #expect(try await catalog.verify(snapshot) == [])
        }
    }

    @Test("its rows stay as they are, can be named, and their documents are understood")
    func migrated() async throws {
        let directory = TestDirectory()
        try await Earlier(directory.path).expectWhole()
        let unknown = TestDirectory()
        let other = try Earlier(unknown.path)
        try removeTree(other.state.catalogDatabase)
        _ = try await Catalog(state: other.state).takeBack(Earlier.id)
        let taken = try #require(try await Catalog(state: other.state).snapshots().first)
        #expect(taken.origin == .run("01run") && taken.createdAt == 1_700_000_000_000)
    }

    @Test("before it is brought up to date it can be audited, and is not changed by that")
    func audited() async throws {
        let directory = TestDirectory()
        let earlier = try Earlier(directory.path)
        let before = try readFile(earlier.state.catalogDatabase, limit: 1 << 20)
        let audit = try await Catalog.audit(in: earlier.state)
        #expect(audit.snapshots == 1 && audit.broken.isEmpty && audit.unknown.isEmpty)
        #expect(try readFile(earlier.state.catalogDatabase, limit: 1 << 20) == before)
    }

    @Test("a migration that is killed in the middle is begun anew by the next process")
    func killed() async throws {
        let (directory, left) = (TestDirectory(), TestDirectory())
        let earlier = try Earlier(directory.path)
        let queue = try DatabaseQueue(path: earlier.state.catalogDatabase)
        try await queue.writeWithoutTransaction { database in
            // Too little room in memory: pages reach the file, and what they replace the journal.
            try database.execute(sql: "PRAGMA cache_size = 1; BEGIN IMMEDIATE")
            try database.execute(sql: CatalogSchema.steps[1].sql)
            try database.execute(sql: "CREATE TABLE junk (x)")
            for _ in 0..<50 { try database.execute(sql: "INSERT INTO junk VALUES (randomblob(5000))") }
            try FileManager.default.copyItem(atPath: directory.path, toPath: left.path)
            try database.execute(sql: "ROLLBACK")
        }
        let state = StateDirectory(reading: left.path)
        let database = try readFile(state.catalogDatabase, limit: 1 << 24)
        let original = try readFile(earlier.state.catalogDatabase, limit: 1 << 24)
        #expect(fileExists(state.catalogDatabase + "-journal") && database != original, "nothing was half written")
        let reopened = try Catalog(state: state)
        #expect(try await reopened.snapshots().map(\.id) == [Earlier.id])
        try await reopened.tag(try await reopened.find("@last"), as: "old")
        #expect(try await Catalog.problems(in: state) == [])
    }

    @Test("many processes that meet it at once, or none, bring it up to date once")
    func atOnce() async throws {
        for round in 0..<20 {
            let directory = TestDirectory()
            let earlier = round % 2 == 0 ? try Earlier(directory.path) : nil
            let state = try earlier?.state ?? StateDirectory(opening: directory.path)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<6 { group.addTask { _ = try await onOwnThread { try Catalog(state: state) } } }
                try await group.waitForAll()
            }
            try await earlier?.expectWhole()
            #expect(try await Catalog(state: state).snapshots().count == (earlier == nil ? 0 : 1))
        }
    }

    @Test("one of a newer version is refused as it is")
    func newer() async throws {
        let directory = TestDirectory()
        let earlier = try Earlier(directory.path)
        _ = try Catalog(state: earlier.state)
        let queue = try DatabaseQueue(path: earlier.state.catalogDatabase)
        try await queue.write { try $0.execute(sql: "INSERT INTO grdb_migrations VALUES ('v9999')") }
        try queue.close()
        let refused = #expect(throws: SnapshotError.self) { try Catalog(state: earlier.state) }
        #expect(refused?.code == .catalogNewerThanProgram)
        let audit = await #expect(throws: SnapshotError.self) { try await Catalog.audit(in: earlier.state) }
        #expect(audit?.code == .catalogNewerThanProgram)
    }

    @Test("a run's request that an earlier version stored is understood: what it does not know is not asked for")
    func request() throws {
        let stored = """
            {"image":"docker.io/library/alpine:latest","platform":"linux/amd64","timeToLive":1200,"plainHTTPHosts":[],
            "ignoresCatalog":false}
            """
        let request = try JSONDecoder().decode(SnapshotRequest.self, from: Data(stored.utf8))
        #expect(request.verity == false && request.name == nil && request.labels == nil && request.capturedFrom == nil)
        var new = request
        new.verity = true
        new.name = "web"
        new.labels = ["a": "b"]
        new.diskBytes = 1 << 30
        new.register = .catalog
        let again = try JSONDecoder().decode(SnapshotRequest.self, from: try JSONEncoder().encode(new))
        #expect(again == new)
    }
}

/// A path that goes away with the test; nothing is made there.
final class TestDirectory: Sendable {
    let path = NSTemporaryDirectory() + "snapwf-state-\(UUID().uuidString)"

    deinit { try? removeTree(path) }
}
