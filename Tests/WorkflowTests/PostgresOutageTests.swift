import Foundation
import Glibc
import Synchronization
import class TestSupport.TestPostgres
import enum TestSupport.TestSize
import Testing
import WorkflowTesting

@testable import Workflow

@Suite("PostgreSQL that goes away", .onPostgres)
struct PostgresOutageTests {
    /// Steps that count their effects, each some milliseconds long.
    private struct Counting: WorkflowDefinition {
        static let name = "counting"
        static let version = 1
        let world: World

        func run(_ input: Int, in run: RunContext) async throws -> Int {
            for index in 0..<input {
                try await run.step("part[\(index)]") { [world] _ in
                    world.effect("part[\(index)]")
                    try await Task.sleep(for: .milliseconds(20))
                }
            }
            return input
        }
    }

    /// A server of the test's own with a schema.
    private static func withServer<T>(_ body: (TestPostgres, String) async throws -> T) async throws -> T {
        let server = try TestPostgres()
        try await server.start()
        defer { server.stop() }
        return try await body(server, try server.makeSchema())
    }

    private static func configuration(_ server: TestPostgres, _ schema: String) -> StoreConfiguration {
        var configuration = StoreConfiguration.postgres(server.address(schema: schema))
        configuration.reconnectTimeout = .seconds(30)
        return configuration
    }

    @Test("a server that is killed and comes back in the middle of a run is waited for, and each effect happened once")
    func killedServer() async throws {
        try await Self.withServer { server, schema in
            let engine = try await Engine(
                store: Self.configuration(server, schema), configuration: testConfiguration())
            for round in 1...3 {
                let world = World()
                let handle = try await engine.start(Counting(world: world), input: 20)
                try await until { world.effects.count > 5 * round }
                try await server.kill()
                #expect(world.effects.count < 20)
                try await Task.sleep(for: .milliseconds(300))
                try await server.start()
                #expect(try await handle.result() == 20)
                #expect(world.effects.values.allSatisfy { $0 == 1 } && world.effects.count == 20)
                let steps = try await engine.steps(of: handle.id)
                #expect(steps.count == 20 && steps.allSatisfy { $0.state == .done && $0.attempt == 1 })
                #expect(try await engine.run(handle.id)?.epoch == 1)
            }
            await engine.shutdown()
        }
    }

    @Test("a server that stays away stops the run, which can be resumed when it is back")
    func lostServer() async throws {
        try await Self.withServer { server, schema in
            var configuration = Self.configuration(server, schema)
            configuration.reconnectTimeout = .seconds(1)
            configuration.leaseTerm = .seconds(1)
            let world = World()
            let engine = try await Engine(store: configuration, configuration: testConfiguration())
            let handle = try await engine.start(Counting(world: world), input: 20)
            try await until { world.effects.count > 5 }
            try await server.kill()
            #expect(await code { _ = try await handle.result() } == .storeUnavailable)
            let effects = world.effects.count
            #expect(await code { _ = try await engine.runs() } == .storeUnavailable)
            #expect(
                await code { _ = try await Engine(store: configuration, configuration: testConfiguration()) }
                    == .storeUnavailable)
            try await server.start()
            try await Task.sleep(for: .seconds(1))
            // The same engine goes on with the new server, when it is asked to.
            try await until { try await engine.run(handle.id)?.status == .interrupted }
            #expect(try await engine.resume(handle.id, as: Counting(world: world)).result() == 20)
            // Of what was under way the outcome was not recorded.
            #expect(world.effects.count == 20 && world.effects.values.reduce(0, +) <= 21)
            #expect(effects < 20)
            await engine.shutdown()
        }
    }

    @Test("a body is ended when its lease could not be renewed in time")
    func lateRenewal() async throws {
        try await Self.withServer { server, schema in
            var configuration = Self.configuration(server, schema)
            configuration.leaseTerm = .seconds(1)
            let wasCancelled = Slot<Bool>()
            let engine = try await Engine(store: configuration, configuration: testConfiguration())
            let handle = try await engine.start(
                Script { _, run in
                    try await run.step("long") { _ in
                        do {
                            try await Task.sleep(for: .seconds(60))
                        } catch {
                            wasCancelled.value = true
                            throw error
                        }
                    }
                    return 1
                }, input: "")
            try await until { try await !engine.steps(of: handle.id).isEmpty }
            // Longer than the term: it is renewed.
            try await Task.sleep(for: .seconds(2))
            #expect(wasCancelled.value == nil)
            #expect(try await engine.run(handle.id)?.status == .running)
            try await server.kill()
            let began = ContinuousClock.now
            try await until { wasCancelled.value == true }
            #expect(began.duration(to: .now) < .seconds(3))
            try await server.start()
            #expect(await code { _ = try await handle.result() } == .storeUnavailable)
            #expect(try await engine.run(handle.id)?.status == .interrupted)
            await engine.shutdown()
        }
    }

    @Test(
        "a connection that is cut at a COMMIT, before or after it, is doubt, and the answer is what the server did",
        arguments: [[CuttingProxy.Cut.beforeCommit], [.afterCommit], [.afterCommit, .beforeCommit, .afterCommit]])
    func cutAtCommit(cuts: [CuttingProxy.Cut]) async throws {
        try await TestStore.use(.postgres) { store in
            let proxy = try CuttingProxy(before: try await TestPostgres.shared.value, in: store.directory)
            var configuration = StoreConfiguration.postgres(proxy.address(schema: store.schema))
            configuration.reconnectTimeout = .seconds(20)
            let world = World()
            let engine = try await Engine(store: configuration, configuration: testConfiguration())
            func cutAll() { for cut in cuts { proxy.cutNext(cut) } }

            // The creation of a run.
            cutAll()
            let handle = try await engine.start(Counting(world: world), input: 4, dedupKey: "only")
            // A step.
            try await until { world.effects.count > 1 }
            cutAll()
            #expect(try await handle.result() == 4)
            #expect(proxy.cuts == 2 * cuts.count)
            #expect(world.effects.values.allSatisfy { $0 == 1 } && world.effects.count == 4)
            #expect(try await engine.runs().count == 1)
            let kinds = try await engine.events(of: handle.id).map(\.kind)
            #expect(kinds.filter { $0 == "run.started" }.count == 1 && kinds.filter { $0 == "step.done" }.count == 4)

            // The same key again: an answer that was lost is asked for once more.
            cutAll()
            #expect(try await engine.start(Counting(world: world), input: 4, dedupKey: "only").isExisting)

            // A cancellation, a claim, a decision's write, and a deletion.
            let other = try await engine.start(
                Script { _, run in
                    try await run.step("wait", inDoubt: .ask) { _ in
                        world.effect("wait")
                        try await Task.sleep(for: .seconds(60))
                        return 1
                    }
                }, input: "")
            try await until { world.count("wait") == 1 }
            cutAll()
            let second = try await Engine(store: configuration, configuration: testConfiguration())
            #expect(try await second.cancel(other.id))
            #expect(await code { _ = try await other.result() } == .cancelled)
            #expect(try await engine.events(of: other.id).filter { $0.kind == "run.cancel_requested" }.count == 1)
            cutAll()
            // Its holder may be just about to let go.
            try await until { try await second.withAbandonedRun(other.id) { $0.record.epoch } == 2 }
            cutAll()
            try await second.deleteRun(other.id)
            #expect(try await engine.run(other.id) == nil)
            #expect(try await second.withAbandonedRun(handle.id) { _ in 1 } == 1)
            await second.shutdown()
            await engine.shutdown()
            proxy.close()
        }
    }

    @Test("connections that are cut again and again at any moment lose nothing and do nothing twice")
    func cutAnywhere() async throws {
        try await TestStore.use(.postgres) { store in
            let proxy = try CuttingProxy(before: try await TestPostgres.shared.value, in: store.directory)
            var configuration = StoreConfiguration.postgres(proxy.address(schema: store.schema))
            configuration.reconnectTimeout = .seconds(20)
            let world = World()
            let engine = try await Engine(store: configuration, configuration: testConfiguration())
            var random = SeededGenerator(seed: TestSize.seed("cuts"))
            let handle = try await engine.start(Counting(world: world), input: TestSize.isLong ? 1000 : 60)
            let isOver = Slot<Bool>()
            let result = Task {
                defer { isOver.value = true }
                return try await handle.result()
            }
            var cuts = 0
            while isOver.value == nil {
                try await Task.sleep(for: .microseconds(random.number(0...80_000)))
                let commits = engine.commitCount
                proxy.cutAll()
                cuts += 1
                // How often in a row it may fail is another matter.
                try await until { engine.commitCount > commits || isOver.value != nil }
            }
            #expect(try await result.value == (TestSize.isLong ? 1000 : 60))
            #expect(world.effects.values.allSatisfy { $0 == 1 })
            let kinds = try await engine.events(of: handle.id).map(\.kind)
            #expect(kinds.filter { $0 == "step.done" }.count == world.effects.count)
            print("cut all connections \(cuts) times")
            await engine.shutdown()
            proxy.close()
        }
    }
}
