import Foundation
import Glibc
import Testing
import WorkflowTesting

@testable import Workflow

/// A wall clock that is wrong by a fixed time.
private struct WrongClock: EngineClock {
    let error: Duration

    func now() -> Date { Timestamp(SystemClock().now()).advanced(by: error).date }

    func sleep(until deadline: Date) async throws {
        try await SystemClock().sleep(until: Timestamp(deadline).advanced(by: .zero - error).date)
    }
}

@Suite("Leases on PostgreSQL", .onPostgres)
struct LeaseFenceTests {
    private static let owner = RunOwner(description: "test", pid: 1, host: "here", since: Date())
    private static let request = QueueRequest(
        queue: "q", workflows: [KnownWorkflow(name: "w", version: 1)], limit: 1)

    // MARK: - Processes that were stopped

    @Test("who was stopped for longer than its lease while it looked for a resource creates none")
    func stoppedInSearch() async throws {
        try await TestStore.use(.postgres) { files in
            var store = files.configuration
            store.leaseTerm = .seconds(3)
            let world = World()
            world.fail("create", times: 1)
            let keeper = Slot<LeaseKeeper>()
            var configuration = testConfiguration(clock: SystemClock())
            // Nothing renews the lease, nor notices its end, as in a process that stands still.
            configuration.probe = { point in
                guard point.description == "resource:box:find:effect.after" else { return }
                keeper.value?.stop()
                usleep(3_300_000)
            }
            let engine = try await Engine(store: store, configuration: configuration)
            keeper.value = try #require(engine.core.store as? PostgresStore).keeper
            let script = Script { _, run -> Int in
                try await run.withResource(BoxResource(world: world), named: "box") { _, _ in 1 }
            }
            #expect(await code { _ = try await engine.start(script, input: "").result() } == .storeUnavailable)
            #expect(world.calls.filter { $0 == "find" || $0 == "create" } == ["create", "find"])
            await engine.shutdown()
        }
    }

    // MARK: - Fences

    /// What two stores can do to each other's runs and must not.
    private static func defects(
        _ rewrite: @escaping @Sendable (String, String) -> String = { $1 }
    ) async throws -> [String] {
        try await TestStore.use(.postgres) { files in
            let holder = try await files.open { $0.rewriteClaims = rewrite }
            let rival = try await files.open { $0.rewriteClaims = rewrite }
            var defects: [String] = []

            let id = RunID(time: Date())
            try await holder.make(id)
            if case .claimed = try await rival.claim(id, owner: owner, purpose: .execution, during: nil) {
                defects.append("claimed a run that another one holds")
            }
            // The id of a run that was deleted while somebody held it is not free.
            let held = RunID(time: Date())
            try await holder.make(held)
            try files.run("DELETE FROM runs WHERE id = '\(held)'")
            if await code({ try await rival.make(held) }) == nil { defects.append("made a run with a held id") }

            let queued = NewRun(
                id: RunID(time: Date()), workflow: "w", version: 1, input: "1", inputHash: "", dedupKey: nil,
                labels: [:])
            _ = try await holder.enqueue(queued, place: QueuePlace(queue: "q", priority: 0, notBefore: nil))
            let taken = try await holder.take(request, owner: owner).claimed
            if taken.count != 1 { defects.append("the run in the queue could not be taken") }
            if try await !rival.take(request, owner: owner).claimed.isEmpty {
                defects.append("took a run that another one holds")
            }
            // Who never held it, or held it before, cannot let it go.
            await rival.relinquish(LeaseClaim(id: queued.id, epoch: 1), isOver: false)
            await holder.relinquish(LeaseClaim(id: queued.id, epoch: 7), isOver: false)
            let leases = try files.run("SELECT run_id FROM leases WHERE run_id = '\(queued.id)'")
            if leases.count != 1 { defects.append("the lease of another one was let go") }
            await rival.close()
            await holder.close()
            return defects
        }
    }

    /// The guards, each with what takes it away.
    private static let mutations: [(statement: String, words: String, without: String)] = [
        ("claim", "WHERE leases.expires_at <= clock_timestamp()", ""),
        ("create", "AND expires_at > clock_timestamp()", "AND false"),
        (
            "queue_take", "(SELECT 1 FROM leases, clock WHERE run_id = id AND expires_at > clock.at)",
            "(SELECT 1 WHERE false)"
        ),
        ("letGo", "AND owner = $2::uuid", "AND $2::uuid IS NOT NULL"),
        ("letGo", "AND epoch = $3::bigint", "AND $3::bigint IS NOT NULL"),
    ]

    @Test("who holds no lease can neither claim, take nor let go what another one holds, nor use its id")
    func fences() async throws {
        #expect(try await Self.defects() == [])
    }

    @Test("without any one of the guards somebody can, and the test above notices")
    func mutants() async throws {
        for mutation in Self.mutations {
            let wasThere = Slot<Bool>()
            let defects = try await Self.defects { name, sql in
                guard name == mutation.statement else { return sql }
                wasThere.value = sql.contains(mutation.words)
                var changed = sql.replacing(mutation.words, with: mutation.without)
                // The second guard of the same statement stands behind the first: both have to go.
                if name == "queue_take" {
                    changed = changed.replacing("WHERE leases.expires_at <= clock_timestamp()", with: "")
                }
                return changed
            }
            #expect(wasThere.value == true, "\(mutation.statement) has no '\(mutation.words)'")
            #expect(!defects.isEmpty, "nothing noticed that \(mutation.statement) lost '\(mutation.words)'")
        }
        print("\(Self.mutations.count) guards of leases taken away")
    }

    // MARK: - Time

    @Test("a machine whose clock is an hour off neither loses its lease nor takes another one's")
    func wrongClocks() async throws {
        try await TestStore.use(.postgres) { store in
            var configuration = store.configuration
            configuration.leaseTerm = .milliseconds(600)
            let script = Script { _, run in
                try await run.step("wait") { step in
                    if step.attempt == 1 { try await Task.sleep(for: .seconds(60)) }
                    return step.attempt
                }
            }
            for error in [Duration.seconds(3600), .seconds(-3600)] {
                let wrong = try await Engine(
                    store: configuration, configuration: testConfiguration(clock: WrongClock(error: error)))
                let right = try await Engine(
                    store: configuration, configuration: testConfiguration(clock: SystemClock()))
                // Each holds a run for the time of three leases while the other one wants it.
                for (holder, rival) in [(wrong, right), (right, wrong)] {
                    let handle = try await holder.start(script, input: "")
                    try await until { try await !holder.steps(of: handle.id).isEmpty }
                    let end = ContinuousClock.now + configuration.leaseTerm * 3
                    while ContinuousClock.now < end {
                        guard case .runHeld? = await code({ _ = try await rival.resume(handle.id, as: script) }) else {
                            Issue.record("the run was not held, with a clock wrong by \(error)")
                            break
                        }
                        try await Task.sleep(for: .milliseconds(50))
                    }
                    #expect(try await holder.run(handle.id)?.epoch == 1)
                    #expect(try await holder.run(handle.id)?.status == .running)
                    #expect(try await rival.cancel(handle.id))
                    #expect(await code { _ = try await handle.result() } == .cancelled)
                }
                await wrong.shutdown()
                await right.shutdown()
            }
        }
    }

    @Test("a claim whose term has passed here begins nothing more, before anybody looks for such claims")
    func overdue() async throws {
        let claim = LeaseClaim(id: RunID(time: Date()), epoch: 1)
        let reason = Slot<WorkflowError>()
        claim.whenLost { reason.value = $0 }
        claim.checkTerm()
        #expect(reason.value == nil)
        claim.renew(until: .now + .seconds(60))
        claim.checkTerm()
        #expect(reason.value == nil)
        claim.renew(until: .now)
        claim.checkTerm()
        #expect(reason.value?.code == .storeUnavailable)
    }
}
