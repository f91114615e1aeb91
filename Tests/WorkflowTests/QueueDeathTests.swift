import Foundation
import Testing
import WorkflowTesting

@testable import Workflow

/// What counts as the death of a worker.
@Suite("Deaths of workers", .everyStore)
struct QueueDeathTests {
    private static let owner = RunOwner(description: "test", pid: 1, host: "here", since: Date())
    private static let request = QueueRequest(
        queue: "q", workflows: [KnownWorkflow(name: "w", version: 1)], limit: 1)

    /// A worker takes the run, does something and dies.
    ///
    /// - Returns: how many deaths it found.
    private static func live(_ files: TestStore, _ writes: [RunWrite] = []) async throws -> Int? {
        let store = try await files.open()
        let claimed = try await store.take(request, owner: owner).claimed.first
        if let claimed, !writes.isEmpty {
            try await store.commit(writes, run: claimed.record.id, epoch: claimed.record.epoch)
        }
        store.sever()
        await store.close()
        return claimed?.record.queueing?.deaths
    }

    @Test("only a run that works dies with its worker, and a step that is done takes the deaths back")
    func counted() async throws {
        try await TestStore.use { files in
            let store = try await files.open()
            let new = NewRun(
                id: RunID(time: Date()), workflow: "w", version: 1, input: "1", inputHash: "", dedupKey: nil,
                labels: [:])
            _ = try await store.enqueue(new, place: QueuePlace(queue: "q", priority: 0, notBefore: nil))
            let attempt = StepAttempt(key: "s", scope: "", attempt: 1)
            let intent = StepIntent(
                attempt: attempt, kind: .step, generation: 0, failures: 0, crashes: 0, idempotencyKey: "k",
                policy: .retry, input: nil, inputHash: nil, progress: nil, wakeAt: nil, deadlineAt: nil)
            #expect(try await Self.live(files, [.status(.sleeping, wakeAt: nil)]) == 0)
            #expect(try await Self.live(files) == 0, "it slept")
            #expect(try await Self.live(files) == 1)
            #expect(try await Self.live(files, [.intent(intent), .done(attempt, output: "1")]) == 2)
            #expect(try await Self.live(files) == 1, "it got a step done")
            await store.close()
        }
    }
}
