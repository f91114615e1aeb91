import Foundation
import Testing
import WorkflowTesting

@testable import Workflow

@Suite("Fencing", .everyStore)
struct FencingTests {
    /// A change, and what has to be recorded before it can be made.
    static func changes(_ run: RunID) -> [(name: String, before: [RunWrite], change: RunWrite)] {
        let attempt = StepAttempt(key: "s", scope: "", attempt: 1)
        let failure = Failure(kind: .error, type: "E", message: "m", step: "s", payload: nil)
        let intent = RunWrite.intent(
            StepIntent(
                attempt: attempt, kind: .step, generation: 0, failures: 0, crashes: 0, idempotencyKey: "k",
                policy: .ask, input: nil, inputHash: nil, progress: nil, wakeAt: nil, deadlineAt: nil))
        let again = RunWrite.intent(
            StepIntent(
                attempt: StepAttempt(key: "s", scope: "", attempt: 2), kind: .step, generation: 0, failures: 0,
                crashes: 0, idempotencyKey: "k", policy: .ask, input: nil, inputHash: nil, progress: nil, wakeAt: nil,
                deadlineAt: nil))
        let ending = StepEnding(
            state: .failed, failures: 1, crashes: 0, failure: failure, nextAttemptAt: nil, progress: nil,
            isFinal: true)
        let resource = RunWrite.resourceIntent(
            ResourceIntent(
                key: ResourceKey(
                    idempotencyKey: "r", runID: run, name: "box", generation: 1, intendedAt: Date()),
                kind: "box", scope: ""))
        let held = RunWrite.resourceHeld(key: "r", externalID: "x", handle: "{}")
        return [
            ("intent", [], intent),
            ("next intent", [intent], again),
            ("done", [intent], .done(attempt, output: "1")),
            ("failed", [intent], .failed(attempt, ending)),
            ("progress", [intent], .progress(attempt, "5")),
            ("decide", [intent], .decide(step: "s", .done(output: "2"))),
            ("status", [], .status(.sleeping, wakeAt: Timestamp(milliseconds: 5))),
            ("finish", [], .finish(.succeeded, output: "1", failure: nil)),
            ("resource intent", [], resource),
            ("resource held", [resource], held),
            ("resource state", [resource, held], .resourceState(key: "r", from: [.held], to: .releasing)),
            (
                "resource failed", [resource],
                .resourceFailed(key: "r", failures: 1, failure: failure, nextAttemptAt: nil)
            ),
            ("event", [], .event(NewEvent("x"))),
        ]
    }

    /// What a writer of an epoch that is over, or of one that never was, can do by one kind of change.
    private static func defects(
        _ index: Int, _ rewrite: @escaping @Sendable (RunStatement, String) -> String = { $1 }
    ) async throws -> [String] {
        try await TestStore.use { files in
            let store = try await files.open { $0.rewrite = rewrite }
            let id = RunID(time: Date())
            let owner = RunOwner(description: "test", pid: 1, host: "here", since: Date())
            try await store.make(id)
            let (name, before, change) = changes(id)[index]
            if !before.isEmpty { try await store.commit(before, run: id, epoch: 1) }
            await store.relinquish(LockClaim(id: id, epoch: 1), isOver: false)
            guard case .claimed(let claimed) = try await store.claim(id, owner: owner, purpose: .execution),
                claimed.claim.epoch == 2
            else { return ["the run could not be claimed"] }
            let dump = try files.dump()
            var defects: [String] = []
            for stale in [1, 3] {
                if await code({ try await store.commit([change], run: id, epoch: stale) }) != .takenOver {
                    defects.append("\(name) by epoch \(stale) was not refused")
                }
                if try files.dump() != dump { defects.append("\(name) by epoch \(stale) changed something") }
            }
            if defects.isEmpty {
                try await store.commit([change], run: id, epoch: 2)
                if try files.dump() == dump { defects.append("\(name) by the right epoch changed nothing") }
            }
            await store.close()
            return defects
        }
    }

    @Test("a stale epoch can change nothing, by any kind of change, and the right one can", arguments: 0..<13)
    func staleWriter(index: Int) async throws {
        #expect(try await Self.defects(index) == [])
    }

    @Test("without its guard any one statement lets a stale writer in, and the test above notices")
    func mutants() async throws {
        var noticed = 0
        let isSQLite = StoreKind.current == .sqlite
        let epochGuard = isSQLite ? RunStatement.epochGuard : RunStatement.postgresEpochGuard
        let nothing = isSQLite ? "?2 = ?2" : "$2::bigint = $2::bigint"
        for mutant in RunStatement.allCases {
            let words = isSQLite ? mutant.sql : mutant.postgres
            #expect(words.contains(epochGuard), "\(mutant) has no guard")
            var defects: [String] = []
            for index in 0..<Self.changes(RunID(time: Date())).count where defects.isEmpty {
                defects = try await Self.defects(index) { statement, sql in
                    statement == mutant ? sql.replacing(epochGuard, with: nothing) : sql
                }
            }
            #expect(!defects.isEmpty, "nothing noticed that \(mutant) lost its guard")
            noticed += defects.isEmpty ? 0 : 1
        }
        print("\(noticed) of \(RunStatement.allCases.count) guards taken away were noticed")
    }

    @Test("an executor that was taken over stops at its next write and begins no other effect")
    func takeover() async throws {
        let world = World()
        try await withEngine { engine, store in
            let handle = try await engine.start(
                Script { _, run in
                    try await run.withResource(BoxResource(world: world), named: "box") { run, _ in
                        try await run.step("one") { _ in
                            world.effect("one")
                            try await until { world.count("taken") > 0 }
                        }
                        return try await run.step("two") { _ in world.effect("two") }
                    }
                }, input: "")
            try await until { world.count("one") > 0 }
            // As another machine would, for which the lock file of this one means nothing.
            try store.run("UPDATE runs SET epoch = epoch + 1")
            world.effect("taken")
            #expect(await code { _ = try await handle.result() } == .takenOver)
            #expect(world.count("two") == 0)
            #expect(world.alive == ["box-1"])
            #expect(try await engine.steps(of: handle.id).map(\.state) == [.intended])
        }
    }

    @Test("a checkpoint is never overwritten in its generation, and an attempt never by an earlier one")
    func checkpointsStay() async throws {
        try await withEngine { engine, _ in
            let store = engine.core.store
            let id = RunID(time: Date())
            await withCheckedContinuation { continuation in
                store.create(
                    NewRun(id: id, workflow: "w", version: 1, input: "1", inputHash: "", dedupKey: nil, labels: [:]),
                    owner: engine.core.owner(), urgency: .now
                ) { _ in continuation.resume() }
            }
            let changes = Self.changes(id)
            let intent = changes[0].change
            let done = changes[2].change
            try await store.commit([intent], run: id, epoch: 1)
            #expect(await code { try await store.commit([intent], run: id, epoch: 1) } == .storeFailed)
            try await store.commit([done], run: id, epoch: 1)
            for late in [intent, changes[1].change, done, changes[3].change, changes[4].change] {
                #expect(await code { try await store.commit([late], run: id, epoch: 1) } == .storeFailed)
            }
            try await store.commit([.finish(.succeeded, output: "1", failure: nil)], run: id, epoch: 1)
            #expect(await code { try await store.commit([changes[6].change], run: id, epoch: 1) } == .takenOver)
        }
    }

    @Test("a lock file that was unlinked between opening and locking is not taken for the lock")
    func unlinkedLock() async throws {
        try await TemporaryStore.use { store in
            let directory = store.directory + "/locks"
            let id = RunID(time: Date())
            let first = RunLocks(directory: directory)
            let second = RunLocks(directory: directory)
            #expect(try first.take(id))
            #expect(try !second.take(id) && second.isHeld(id))
            let orphan = try FileLock.open("\(directory)/\(id).lock")
            first.letGo(id, removing: true)
            #expect(orphan.tryLock(.exclusive))
            #expect(!orphan.isStill(at: "\(directory)/\(id).lock"))
            #expect(!second.isHeld(id))
            #expect(try second.take(id))
            #expect(first.isHeld(id))
            #expect(try !first.take(id))
            second.letGoAll()
            #expect(try first.take(id))
            first.letGoAll()
        }
    }
}
