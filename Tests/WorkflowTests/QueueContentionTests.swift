import Foundation
import Testing
import WorkflowTesting

@testable import Workflow

/// Stores that want the same queues, and servers that forget.
@Suite("Queues that stores share on PostgreSQL", .onPostgres)
struct QueueContentionTests {
    private static let owner = RunOwner(description: "test", pid: 1, host: "here", since: Date())

    private static func request(_ queue: String) -> QueueRequest {
        QueueRequest(queue: queue, workflows: [KnownWorkflow(name: "w", version: 1)], limit: 1)
    }

    @Test("stores that take from two limited queues at once never wait for each other in a circle")
    func circle() async throws {
        try await TestStore.use(.postgres) { files in
            let count = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
            let before = try files.run(count)
            let stores = [try await files.open(), try await files.open()]
            for queue in ["a", "b"] {
                try await stores[0].configure(
                    QueueSettings(name: queue, concurrency: 1, rateLimit: nil, ratePeriod: nil, fairness: nil))
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (store, queues) in zip(stores, [["a", "b"], ["b", "a"]]) {
                    for queue in queues + queues {
                        group.addTask {
                            for _ in 0..<150 { _ = try await store.take(Self.request(queue), owner: Self.owner) }
                        }
                    }
                }
                try await group.waitForAll()
            }
            for store in stores { await store.close() }
            #expect(try files.run(count) == before)
        }
    }

    @Test("a limited queue whose row another transaction keeps is busy, and no change of a run beside it fails with it")
    func keptRow() async throws {
        try await TestStore.use(.postgres) { files in
            let store = try await files.open { $0.busyTimeout = .milliseconds(200) }
            try await store.configure(
                QueueSettings(name: "q", concurrency: 1, rateLimit: nil, ratePeriod: nil, fairness: nil))
            let id = RunID(time: Date())
            try await store.make(id)
            let other = try PostgresConnection(
                PostgresAddress(files.address), patience: .seconds(30), attributes: "any")
            try other.script("BEGIN; SELECT * FROM queues FOR UPDATE")
            for _ in 0..<5 {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    // The first of them keep the thread; the others are one transaction then.
                    for index in 0..<30 {
                        if index == 15 {
                            group.addTask {
                                #expect(
                                    await code { _ = try await store.take(Self.request("q"), owner: Self.owner) }
                                        == .storeBusy)
                            }
                        }
                        group.addTask { try await store.commit([.event(NewEvent("e"))], run: id, epoch: 1) }
                    }
                    try await group.waitForAll()
                }
            }
            try other.script("ROLLBACK")
            #expect(try await store.take(Self.request("q"), owner: Self.owner).claimed.isEmpty)
            #expect(try await store.events(of: id, after: 0, limit: 1000).count == 151)
            await store.close()
        }
    }

    @Test("a run that a worker lost and took again stays one of its runs when the lost execution ends")
    func tookAgain() async throws {
        try await TestStore.use(.postgres) { files in
            var store = files.configuration
            store.leaseTerm = .seconds(3)
            var configuration = queueConfiguration()
            configuration.cancellationGrace = .seconds(60)
            let engine = try await Engine(store: store, configuration: configuration)
            let bodies = Gauge()
            let ends = [Promise<Void>(), Promise<Void>()]
            // Neither body cares that it is cancelled.
            let job = Job { input, run in
                try await run.step("work") { step in
                    bodies.enter()
                    await ends[min(step.attempt, 2) - 1].value()
                    bodies.leave()
                }
                return input
            }
            let handle = try await engine.enqueue(job, input: "x", queue: "q")
            let worker = try await engine.work(on: [QueueConfiguration("q", concurrency: 2)], job)
            try await until { bodies.now == 1 }
            try files.run("DELETE FROM leases")
            try await until { bodies.now == 2 }
            ends[0].fulfil(())
            try await until { worker.executed == 1 }
            #expect(worker.runs == [handle.id])
            ends[1].fulfil(())
            #expect(try await handle.result() == "x")
            await engine.shutdown()
        }
    }

    @Test("a claim that the server forgot is lost with the connection, though the next holder has the same epoch")
    func forgotten() async throws {
        try await TestStore.use(.postgres) { files in
            let holder = try await files.open { $0.leaseTerm = .seconds(3600) }
            let rival = try await files.open { $0.leaseTerm = .seconds(3600) }
            let id = RunID(time: Date())
            let new = NewRun(
                id: id, workflow: "w", version: 1, input: "1", inputHash: "", dedupKey: nil, labels: [:])
            _ = try await holder.enqueue(new, place: QueuePlace(queue: "q", priority: 0, notBefore: nil))
            #expect(try await holder.take(Self.request("q"), owner: Self.owner).claimed.first?.record.epoch == 1)
            // As a server that lost its last moments comes up again.
            try files.run("DELETE FROM leases")
            try files.run("UPDATE runs SET epoch = 0, status = 'pending', owner = NULL")
            #expect(try await rival.take(Self.request("q"), owner: Self.owner).claimed.first?.record.epoch == 1)
            try files.run(
                """
                SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
                """)
            let event = RunWrite.event(NewEvent("x"))
            #expect(await code { try await holder.commit([event], run: id, epoch: 1) } == .takenOver)
            #expect(await code { try await rival.commit([event], run: id, epoch: 1) } == nil)
            await holder.close()
            await rival.close()
        }
    }
}
