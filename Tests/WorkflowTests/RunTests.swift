import Foundation
import Testing
import WorkflowTesting

@testable import Workflow

/// A workflow whose version is chosen by the type.
struct Versioned<V: VersionNumber>: WorkflowDefinition {
    static var name: String { "versioned" }
    static var version: Int { V.number }
    let world: World

    func run(_ input: Int, in run: RunContext) async throws -> Int {
        try await run.step("size", input: input * V.number) { _ in input }
        return try await run.withResource(BoxResource(world: world), named: "box") { run, _ in
            try await run.step("long") { [world] _ in
                if world.effect("long") == 1 { try await Task.sleep(for: .seconds(600)) }
                return V.number
            }
        }
    }
}

protocol VersionNumber: Sendable {
    static var number: Int { get }
}
enum One: VersionNumber { static let number = 1 }
enum Two: VersionNumber { static let number = 2 }
typealias VersionOne = Versioned<One>
typealias VersionTwo = Versioned<Two>

@Suite("Runs", .everyStore)
struct RunTests {
    /// Starts a run, interrupts it in its step `long`, and hands over to a second engine.
    private static func interrupted<W: WorkflowDefinition>(
        _ workflow: W, _ input: W.Input, _ world: World, _ body: (Engine, RunID, TestStore) async throws -> Void
    ) async throws {
        try await withEngine { first, store in
            let handle = try await first.start(workflow, input: input)
            try await until { world.count("long") > 0 }
            await first.interrupt()
            let second = try await Engine(store: store.configuration, configuration: testConfiguration())
            try await body(second, handle.id, store)
            await second.shutdown()
        }
    }

    @Test("a run of another version is refused with both versions, and the right one resumes it")
    func versionMismatch() async throws {
        let world = World()
        try await Self.interrupted(VersionOne(world: world), 5, world) { engine, id, _ in
            let error = await #expect(throws: WorkflowError.self) {
                try await engine.resume(id, as: VersionTwo(world: world))
            }
            #expect(error?.code == .versionMismatch)
            #expect(error?.message.contains("version 1") == true && error?.message.contains("version 2") == true)
            #expect(world.alive == ["box-1"])
            let resumed = try await engine.resume(id, as: VersionOne(world: world))
            #expect(try await resumed.result() == 1)
        }
    }

    @Test("a run of another version can still be cancelled, and then releases its resource")
    func cancelOtherVersion() async throws {
        let world = World()
        try await Self.interrupted(VersionOne(world: world), 5, world) { engine, id, _ in
            try await engine.cancel(id)
            let resumed = try await engine.resume(id, as: VersionTwo(world: world))
            #expect(await code { _ = try await resumed.result() } == .cancelled)
        }
    }

    @Test("a step whose recorded input differs stops the run and shows both, and nothing is released")
    func stepInput() async throws {
        let world = World()
        let factor = World()
        let script = Script { _, run in
            try await run.step("size", input: ["factor": factor.count("factor")]) { _ in 1 }
            return try await run.withResource(BoxResource(world: world), named: "box") { run, _ in
                try await run.step("long") { _ in
                    if world.effect("long") == 1 { try await Task.sleep(for: .seconds(600)) }
                    return 1
                }
            }
        }
        try await Self.interrupted(script, "", world) { engine, id, _ in
            factor.effect("factor")
            let resumed = try await engine.resume(id, as: script)
            let error = await #expect(throws: WorkflowError.self) { try await resumed.result() }
            #expect(error?.code == .stepInputChanged)
            #expect(error?.message.contains(#"recorded: {"factor":0}"#) == true)
            #expect(error?.message.contains(#"now: {"factor":1}"#) == true)
            #expect(world.alive == ["box-1"])
            #expect(try await engine.run(id)?.status == .interrupted)
        }
    }

    @Test("a stored input that was changed is refused")
    func changedInput() async throws {
        let world = World()
        try await Self.interrupted(VersionOne(world: world), 5, world) { engine, id, store in
            try store.run("UPDATE runs SET input = '6'")
            #expect(
                await code { _ = try await engine.resume(id, as: VersionOne(world: world)) } == .inputMismatch)
        }
    }

    @Test("a registered workflow is found by the run's name")
    func registry() async throws {
        let world = World()
        try await Self.interrupted(VersionOne(world: world), 5, world) { engine, id, _ in
            #expect(await code { _ = try await engine.resume(id) } == .unknownWorkflow)
            try engine.register(VersionOne(world: world))
            try engine.register(VersionOne(world: world))
            #expect(throws: WorkflowError.self) { try engine.register(VersionTwo(world: world)) }
            #expect(try await engine.resume(id).result() == "1")
        }
    }

    @Test("a dedup key returns the live or succeeded run, and is free again after a failure")
    func dedup() async throws {
        let world = World()
        try await withEngine { engine, store in
            let script = Script { _, run in
                try await run.step("count") { _ in
                    if world.effect("count") == 1 { throw TerminalError("the first one fails") }
                    try await until { world.count("go") > 0 }
                    return world.count("count")
                }
            }
            let failed = try await engine.start(script, input: "a", dedupKey: "key")
            #expect(!failed.isExisting)
            await #expect(throws: WorkflowError.self) { try await failed.result() }
            let live = try await engine.start(script, input: "a", dedupKey: "key")
            #expect(!live.isExisting && live.id != failed.id)
            let again = try await engine.start(script, input: "b", dedupKey: "key")
            #expect(again.isExisting && again.id == live.id && again.existing?.status == .running)
            let other = try await Engine(store: store.configuration, configuration: testConfiguration())
            let elsewhere = try await other.start(script, input: "a", dedupKey: "key")
            #expect(elsewhere.id == live.id && elsewhere.existing?.status == .running)
            world.effect("go")
            #expect(try await live.result() == 2)
            #expect(try await again.result() == 2)
            #expect(try await elsewhere.result() == 2)
            let later = try await other.start(script, input: "a", dedupKey: "key")
            #expect(later.existing?.status == .succeeded)
            #expect(try await later.result() == 2)
            #expect(try await engine.runs().count == 2)
            await other.shutdown()
        }
    }

    @Test("retention deletes finished runs by age and count with all their rows, and keeps open ledgers")
    func retention() async throws {
        let clock = ManualClock(sleeps: .pass)
        let world = World()
        try await withEngine(testConfiguration(clock: clock)) { engine, store in
            let script = Script { input, run in
                try await run.emit("note", ["x": 1])
                return try await run.withResource(BoxResource(world: world), named: "box") { run, _ in
                    try await run.step("s") { _ in 1 }
                }
            }
            var ids: [RunID] = []
            for index in 0..<6 {
                if index == 1 { world.fail("release", times: 3) }
                let handle = try await engine.start(script, input: "\(index)")
                ids.append(handle.id)
                _ = try await handle.result()
                clock.advance(by: .seconds(100))
            }
            #expect(try await engine.deleteFinishedRuns(olderThan: .seconds(1_000_000)) == 0)
            // Younger than 250 s: the last two. One of the others has a sandbox that could not be released.
            #expect(try await engine.deleteFinishedRuns(olderThan: .seconds(250), keep: 3) == 2)
            #expect(try await engine.runs().map(\.id).sorted() == [ids[1], ids[3], ids[4], ids[5]].sorted())
            #expect(try await engine.deleteFinishedRuns(olderThan: .seconds(250)) == 1)
            #expect(await code { try await engine.deleteRun(ids[1]) } == .notFinished(.succeeded))
            try await engine.deleteRun(ids[4])
            #expect(await code { try await engine.deleteRun(ids[4]) } == .unknownRun)
            let orphans = try ["steps", "resources", "events"].map { table in
                try store.run("SELECT count(*) AS n FROM \(table) WHERE run_no NOT IN (SELECT no FROM runs)")[0]["n"]
            }
            #expect(orphans == ["0", "0", "0"])
        }
    }

    @Test("runs are found by prefix, state, label and age")
    func queries() async throws {
        try await withEngine { engine, _ in
            var ids: [RunID] = []
            for index in 0..<5 {
                let handle = try await engine.start(
                    Script { input, _ in
                        if input == "3" { throw TerminalError("no") }
                        return 1
                    }, input: "\(index)", labels: ["parity": index % 2 == 0 ? "even" : "odd"])
                _ = try? await handle.result()
                ids.append(handle.id)
            }
            let newest = Array(ids.sorted().reversed())
            #expect(try await engine.runs().map(\.id) == newest)
            #expect(try await engine.runs(RunQuery(limit: 2)).map(\.id) == Array(newest.prefix(2)))
            #expect(try await engine.runs(RunQuery(before: newest[2])).map(\.id) == Array(newest.suffix(2)))
            #expect(try await engine.runs(RunQuery(statuses: [.failed])).map(\.id) == [ids[3]])
            #expect(try await engine.runs(RunQuery(statuses: [.interrupted])).isEmpty)
            #expect(try await engine.runs(RunQuery(labels: ["parity": "odd"])).count == 2)
            #expect(try await engine.runs(RunQuery(workflow: "other")).isEmpty)
            let id = ids[2].description
            #expect(try await engine.find(prefix: id).map(\.id) == [ids[2]])
            #expect(try await engine.find(prefix: id.uppercased()).map(\.id) == [ids[2]])
            #expect(try await engine.find(prefix: String(id.prefix(6))).count == 5)
            #expect(try await engine.find(prefix: "%").isEmpty)
            #expect(try await engine.find(prefix: "").count == 5)
            #expect(try await engine.run(RunID(time: Date(timeIntervalSince1970: 1))) == nil)
        }
    }

    @Test("an application's event is recorded once, however often the run is resumed")
    func events() async throws {
        let world = World()
        let script = Script { _, run in
            for _ in 0..<2 { try await run.emit("tick", ["same": true]) }
            try await run.emit("tock", 1)
            return try await run.step("long") { _ in
                if world.effect("long") == 1 { try await Task.sleep(for: .seconds(600)) }
                return 1
            }
        }
        try await Self.interrupted(script, "", world) { engine, id, _ in
            #expect(try await engine.resume(id, as: script).result() == 1)
            let events = try await engine.events(of: id)
            #expect(events.filter { $0.kind == "tick" }.map(\.payload) == [#"{"same":true}"#, #"{"same":true}"#])
            #expect(events.filter { $0.kind == "tock" }.count == 1)
            #expect(events.map(\.seq) == events.map(\.seq).sorted())
            let rest = try await engine.events(of: id, after: events[1].seq, limit: 2)
            #expect(rest == Array(events[2...3]))
        }
    }
}
