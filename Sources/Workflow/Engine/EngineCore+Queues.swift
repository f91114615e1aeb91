import Foundation
import Logging

extension EngineCore {
    func enqueue<W: WorkflowDefinition>(
        _ workflow: W, input: W.Input, place: QueuePlace, dedupKey: String?, labels: [String: String],
        timeout: Duration?
    ) async throws -> RunHandle<W.Output> {
        let run = try newRun(W.self, input, dedupKey: dedupKey, labels: labels, timeout: timeout)
        try Names.check(place.queue, what: "queue")
        try pass(.before, .create)
        let answer = try await store.enqueue(run, place: place)
        try pass(.after, .create)
        switch answer {
        case .recorded: return queuedHandle(run.id, existing: nil, as: W.self)
        case .existing(let record): return queuedHandle(record.id, existing: record, as: W.self)
        }
    }

    func work(
        on queues: [QueueConfiguration], observing observe: @escaping @Sendable (WorkerEvent) -> Void
    ) async throws -> Worker {
        try requireOpen()
        for queue in queues {
            try Names.check(queue.name, what: "queue")
            if queue.keepsLimits {
                try await store.introduce(queue: queue.name)
            } else {
                try await store.configure(queue.settings)
            }
        }
        return Worker(core: self, queues: queues, observe: observe)
    }

    func signal(_ id: RunID, _ name: String, _ payload: some Encodable, key: String?) async throws -> Bool {
        try requireOpen()
        try Names.check(name, what: "signal")
        if let key { try Names.check(key, what: "key of a signal") }
        let text = try encode(payload, what: "the payload of signal '\(name)'")
        return try await store.send(
            NewSignal(run: id, name: name, key: key ?? RunID(time: clock.now()).description, payload: text))
    }

    /// Ends a run that was taken and that nobody dares to execute. What it owns stays in the ledger.
    func bury(_ claimed: Claimed, _ deaths: Int) async throws -> Failure {
        let id = claimed.record.id
        let failure = Failure(deaths: .diedTooOften(id, deaths))
        store.cancelChildren(of: id, epoch: claimed.claim.epoch)
        try await store.commit(
            [.finish(.failed, output: nil, failure: failure), .event(NewEvent("run.failed", payload: failure))],
            run: id, epoch: claimed.claim.epoch)
        await store.relinquish(claimed.claim, isOver: true)
        return failure
    }

    /// Lets go of a run that was taken and could not be begun: for a person, unless this engine is about to end.
    ///
    /// - Returns: how it was left.
    func leaveUnbegun(_ claimed: Claimed, _ error: any Error) async -> WorkerEvent.Ending {
        let reason = error as? WorkflowError ?? WorkflowError(.storeFailed, "the run could not be begun", cause: error)
        let isClosing = reason.code == .engineClosed
        var writes: [RunWrite] = [.rest(isClosing ? .yielded : .parked)]
        if !isClosing { writes.append(.event(NewEvent("run.parked", payload: ["reason": "\(error)"]))) }
        do {
            try await store.commit(writes, run: claimed.record.id, epoch: claimed.claim.epoch)
        } catch {
            logger.warning(
                "a run that could not be begun could not be parked",
                metadata: ["run": "\(claimed.record.id)", "error": "\(error)"])
        }
        await store.relinquish(claimed.claim, isOver: false)
        return isClosing ? .released : .parked(reason)
    }
}
