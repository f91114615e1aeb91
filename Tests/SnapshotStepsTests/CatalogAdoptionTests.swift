import Files
import Foundation
import Glibc
import HelperInterface
import Synchronization
import Testing

@testable import SnapshotSteps

@Suite("Snapshots that no run of this machine made")
struct CatalogAdoptionTests {
    private static let key = String(repeating: "0123456789abcdef", count: 4)

    @Test("a pulled file becomes a snapshot with the reference it came from, and its place is gone")
    func adopted() async throws {
        let test = try TestState()
        let snapshot = try await test.pulled()
        #expect(try await test.catalog.find("@last").origin == .pulled(reference: "r.example/a@sha256:1"))
        #expect(try await test.catalog.find(snapshot.id).artifacts.map(\.way) == [.pulled])
        #expect(try readFile(snapshot.path, limit: 100) == Array("image".utf8))
        #expect(test.names == [snapshot.id])
        #expect(try directoryNames(test.state.snapshots + "/" + snapshot.id) == ["rootfs.ext4", "snapshot.json"])
        // Pulled again, it is the same one.
        #expect(try await test.pulled().id == snapshot.id)
        #expect(test.names == [snapshot.id])
    }

    @Test("what was pulled answers no run until a run has made the same bytes")
    func trust() async throws {
        let test = try TestState()
        let pulled = try await test.pulled()
        #expect(try await test.catalog.snapshot(forKey: Self.key) == nil)
        let made = try await test.registered("b", key: Self.key)
        #expect(made.id == pulled.id && made.runID == "run1")
        #expect(try await test.catalog.snapshot(forKey: Self.key)?.id == pulled.id)
    }

    @Test("other bytes under a known key are refused, and the snapshot that is there stays as it is")
    func conflict() async throws {
        let test = try TestState()
        let snapshot = try await test.registered("a", key: Self.key)
        let refused = await #expect(throws: SnapshotError.self) { try await test.pulled(bytes: "other") }
        #expect(refused?.code == .snapshotDamaged && refused?.message.contains(snapshot.id) == true)
        #expect(try readFile(snapshot.path, limit: 100) == Array("image".utf8))
        #expect(try await test.catalog.find("@last").runID == "run1")
    }

    @Test("facts that cannot be are refused before anything is made of them")
    func hostile() async throws {
        let test = try TestState()
        let changes: [(inout PullResult) -> Void] = [
            { $0.key = "../../../../etc/passwd" }, { $0.key = String($0.key.prefix(63)) },
            { $0.key = $0.key.uppercased() }, { $0.sha256 = "" }, { $0.size = .max }, { $0.entries = -1 },
            { $0.image = String(repeating: "i", count: 5000) },
        ]
        for change in changes {
            let place = try await test.catalog.incomingPlace("1")
            var (file, result) = try test.made("a", key: Self.key)
            change(&result)
            let refused = await #expect(throws: SnapshotError.self) {
                try await test.catalog.adopt(
                    result, file: file, from: place, origin: .pulled(reference: "r.example/a@sha256:1"))
            }
            #expect(refused?.code == .badImage)
            place.close()
        }
        await #expect(throws: SnapshotError.self) { try await test.catalog.incomingPlace("../x") }
        #expect(try await test.catalog.snapshots().isEmpty)
    }

    @Test(
        "one place is one process's; what it leaves is gone on with, kept by gc's first look, and goes when it is old")
    func place() async throws {
        let test = try TestState()
        let place = try await test.catalog.incomingPlace("1")
        try writeFile(place.directory + "/piece", [1], mode: 0o600)
        let other = try Catalog(state: test.state)
        await #expect(throws: SnapshotError.self) { try await other.incomingPlace("1") }
        let found = try #require(try await other.unregistered().first)
        #expect(found.kind == .pull)
        #expect(try await other.isGathering(found))
        #expect(try await !other.remove(found))
        place.close()
        #expect(try await !other.isGathering(found))
        let again = try await other.incomingPlace("1")
        #expect(try readFile(again.directory + "/piece", limit: 1) == [1])
        again.close()
        #expect(try await other.remove(found))
        #expect(test.names.isEmpty)
    }

    @Test("a place that is removed while others wait for it is one process's all the same, and no removal fails")
    func removedPlace() async throws {
        let test = try TestState()
        final class Inside: Sendable {
            let now = Atomic(0)
            let most = Atomic(0)
        }
        let inside = Inside()
        try await withThrowingTaskGroup(of: Int.self) { group in
            for _ in 0..<6 {
                group.addTask {
                    let catalog = try Catalog(state: test.state)
                    var rounds = 0
                    while rounds < 50 {
                        // One that waited for a second in vain is asked to come again.
                        guard let place = try? await catalog.incomingPlace("1") else { continue }
                        let now = inside.now.add(1, ordering: .relaxed).newValue
                        inside.most.max(now, ordering: .relaxed)
                        try writeFile(place.directory + "/piece", [1], mode: 0o600)
                        inside.now.subtract(1, ordering: .relaxed)
                        try await onOwnThread { try place.remove() }
                        rounds += 1
                    }
                    return rounds
                }
            }
            let rounds = try await group.reduce(0, +)
            print("a place that was taken and removed \(rounds) times")
        }
        #expect(inside.most.load(ordering: .relaxed) == 1)
        #expect(test.names.isEmpty)
    }
}

extension TestState {
    fileprivate func pulled(bytes: String = "image") async throws -> Snapshot {
        let place = try await catalog.incomingPlace("1")
        defer { place.close() }
        let (file, result) = try made(
            "pulled", key: String(repeating: "0123456789abcdef", count: 4), bytes: Array(bytes.utf8))
        let gathered = place.directory + "/rootfs.ext4.download"
        #expect(rename(file, gathered) == 0)
        return try await catalog.adopt(
            result, file: gathered, from: place, origin: .pulled(reference: "r.example/a@sha256:1"))
    }
}
