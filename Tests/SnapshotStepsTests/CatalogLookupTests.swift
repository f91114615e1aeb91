import Files
import Foundation
import HelperInterface
import Testing

@testable import SnapshotSteps

@Suite("How snapshots are called and found")
struct CatalogLookupTests {
    private static let one = "aaaa0000111122223333"
    private static let two = "aaaa9999888877776666"

    private struct Two {
        let test: TestState
        let one: Snapshot
        let two: Snapshot

        init() async throws {
            test = try TestState()
            one = try await test.registered("a", key: CatalogLookupTests.one, bytes: "first")
            try await Task.sleep(for: .milliseconds(5))
            two = try await test.registered("b", key: CatalogLookupTests.two, bytes: "second")
        }
    }

    @Test("a snapshot is found by id, key, SHA-256, any unique prefix of them, name, and @last")
    func found() async throws {
        let store = try await Two()
        let catalog = store.test.catalog
        try await catalog.tag(store.one, as: "acme/web:1.2")
        for text in [
            store.one.id, store.one.key, store.one.sha256, "sha256:" + store.one.sha256, "snap-aaaa0", "aaaa0", "AAAA0",
            String(store.one.sha256.prefix(12)), "acme/web:1.2",
        ] {
            #expect(try await catalog.find(text).id == store.one.id, "\(text)")
        }
        #expect(try await catalog.find("@last").id == store.two.id)
    }

    @Test("a name wins over the prefix of an id; a prefix of two is refused and both are named")
    func ambiguous() async throws {
        let store = try await Two()
        let catalog = store.test.catalog
        let refused = await #expect(throws: SnapshotError.self) { try await catalog.find("aaaa") }
        #expect(refused?.code == .snapshotNotFound)
        #expect(refused?.message.contains(store.one.id) == true && refused?.message.contains(store.two.id) == true)
        try await catalog.tag(store.two, as: "aaaa")
        #expect(try await catalog.find("aaaa").id == store.two.id)
    }

    @Test("an unknown name comes with the nearest right one, and with none where nothing is near")
    func nearestName() async throws {
        let store = try await Two()
        try await store.test.catalog.tag(store.one, as: "production-web")
        let near = await #expect(throws: SnapshotError.self) { try await store.test.catalog.find("producton-web") }
        #expect(near?.message.contains("the nearest is \"production-web\"") == true, "\(near?.message ?? "")")
        #expect(near?.exitStatus == .notFound)
        let typo = await #expect(throws: SnapshotError.self) {
            try await store.test.catalog.find("snap-aaaa000011112221")
        }
        #expect(typo?.message.contains("the nearest is \"\(store.one.id)\"") == true, "\(typo?.message ?? "")")
        let far = await #expect(throws: SnapshotError.self) { try await store.test.catalog.find("\u{1B}[2Jzz") }
        #expect(far?.message.contains("nearest") == false && far?.message.contains("\u{1B}") == false)
        let empty = try TestState()
        let none = await #expect(throws: SnapshotError.self) { try await empty.catalog.find("x") }
        #expect(none?.message.contains("there is no snapshot yet") == true)
    }

    @Test("names move, several point at one snapshot, and what cannot be a name is refused")
    func names() async throws {
        let store = try await Two()
        let catalog = store.test.catalog
        #expect(try await catalog.tag(store.one, as: "stable") == nil)
        #expect(try await catalog.tag(store.one, as: "stable") == nil)
        try await catalog.tag(store.one, as: "v1")
        #expect(try await catalog.find("v1").names == ["stable", "v1"])
        #expect(try await catalog.tag(store.two, as: "stable") == store.one.id)
        #expect(try await catalog.find("stable").id == store.two.id)
        #expect(try await catalog.find("v1").names == ["v1"])
        try await catalog.untag("v1")
        let gone = await #expect(throws: SnapshotError.self) { try await catalog.untag("v1") }
        #expect(gone?.code == .snapshotNotFound)
        for name in ["", "@last", "-x", "a b", "snap-1", "ä", "a\n", String(repeating: "a", count: 129)] {
            let refused = await #expect(throws: SnapshotError.self) { try await catalog.tag(store.one, as: name) }
            #expect(refused?.code == .usage, "\(name)")
        }
    }

    @Test(
        "labels are set, replaced and taken away; notes of pushes and boots are kept; registering again keeps them all")
    func notes() async throws {
        let store = try await Two()
        let catalog = store.test.catalog
        try await catalog.label(store.one, ["team": "web", "tier": "gold"])
        try await catalog.label(store.one, ["team": "api", "tier": ""])
        try await catalog.tag(store.one, as: "stable")
        try await catalog.noteBoot(of: store.one, milliseconds: 1234)
        try await catalog.notePush(of: store.one, to: "r.example/web@sha256:1")
        let (file, result) = try store.test.made("c", key: Self.one, bytes: Array("first".utf8))
        #expect(truncate(store.one.path, 0) == 0)
        _ = try await catalog.register(result, file: file, runID: "run2")
        let now = try await catalog.find("stable")
        #expect(now.labels == ["team": "api"] && now.names == ["stable"] && now.bootMilliseconds == 1234)
        #expect(now.artifacts.map(\.reference) == ["r.example/web@sha256:1"] && now.runID == "run2")
        await #expect(throws: SnapshotError.self) { try await catalog.label(store.one, ["a b": "c"]) }
        await #expect(throws: SnapshotError.self) { try await catalog.label(store.one, ["a": "c\u{7}"]) }
    }
}
