import Foundation
import Testing
import WorkflowTesting

@testable import Workflow

/// An upgrade without a stop: the first process of a newer program extends the schema while older ones go on.
@Suite("A schema that a newer program extends", .everyStore)
struct SchemaGrowthTests {
    @Test("an engine that was open before goes on with everything; one of the old program cannot be opened any more")
    func grows() async throws {
        let world = World()
        let job = Job { input, run in
            try await run.withResource(BoxResource(world: world), named: "box") { run, _ in
                let word = try await run.waitForSignal("word", as: String.self)
                let child = try await run.child("part", Batch.self, input: [], queue: "q")
                _ = try await child.result()
                return try await run.step("work") { _ in input + word }
            }
        }
        try await withEngines(2) { engines, store in
            let (first, second) = (engines[0], engines[1])
            for engine in engines {
                _ = try await engine.work(on: [QueueConfiguration("q", concurrency: 4)], job, Batch())
            }
            /// Runs of all kinds up to where they wait for a word.
            func begin() async throws -> [RunHandle<String>] {
                let handles = [
                    try await first.start(job, input: "by hand"),
                    try await second.enqueue(job, input: "queued", queue: "q"),
                ]
                for handle in handles {
                    try await until { try await first.run(handle.id)?.recordedStatus == .sleeping }
                }
                return handles
            }
            func end(_ handles: [RunHandle<String>]) async throws {
                for handle in handles { #expect(try await second.signal(handle.id, "word", "!")) }
                #expect(try await handles[0].result() == "by hand!")
                #expect(try await handles[1].result() == "queued!")
            }
            // Everything that is prepared once has been used.
            try await end(begin())
            let before = try await begin()
            for table in CopiedTable.allCases {
                try store.run("ALTER TABLE \(table.rawValue) ADD COLUMN later TEXT")
            }
            try store.run("INSERT INTO workflow_migrations (identifier) VALUES ('v9999_future')")
            try await end(before)
            if store.kind == .postgres {
                // Nor does it matter that the old program has to connect again.
                try store.run(
                    """
                    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
                    """)
            }
            try await end(begin())
            #expect(world.alive.isEmpty)
            #expect(try await first.runs(RunQuery()).count == 12)
            #expect(try await first.resources(states: [.released]).count == 6)
            let refusal = await code {
                _ = try await Engine(store: store.configuration, configuration: queueConfiguration())
            }
            #expect(refusal == .storeNewerThanProgram)
        }
    }
}
