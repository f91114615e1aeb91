import Foundation
import Synchronization

@testable import Workflow

/// What a store reads back, in the model's terms.
extension ModelRun {
    init(_ record: RunRecord) {
        self.init(
            id: record.id, workflow: record.workflow, version: record.version, input: record.input,
            inputHash: record.inputHash, dedupKey: record.dedupKey, labels: record.labels,
            createdAt: milliseconds(record.createdAt), deadlineAt: record.deadlineAt.map(milliseconds),
            recorded: record.recordedStatus, shown: record.status, epoch: record.epoch, owner: record.owner,
            wakeAt: record.wakeAt.map(milliseconds), cancelRequestedAt: record.cancelRequestedAt.map(milliseconds),
            output: record.output, failure: record.failure, updatedAt: milliseconds(record.updatedAt),
            finishedAt: record.finishedAt.map(milliseconds))
    }
}

extension ModelStep {
    init(_ record: StepRecord) {
        self.init(
            name: record.name, kind: record.kind, scope: record.scope, generation: record.generation,
            state: record.state, attempt: record.attempt, failures: record.failures, crashes: record.crashes,
            idempotencyKey: record.idempotencyKey, policy: record.inDoubtPolicy, input: record.input,
            inputHash: record.inputHash, output: record.output, failure: record.failure, progress: record.progress,
            nextAttemptAt: record.nextAttemptAt.map(milliseconds), deadlineAt: record.deadlineAt.map(milliseconds),
            startedAt: milliseconds(record.startedAt), finishedAt: record.finishedAt.map(milliseconds))
    }
}

extension ModelResource {
    init(_ record: ResourceRecord) {
        self.init(
            run: record.runID, key: record.key.idempotencyKey, name: record.name, kind: record.kind,
            scope: record.scope, generation: record.generation, intendedAt: milliseconds(record.key.intendedAt),
            state: record.state, externalID: record.externalID, handle: record.handle, failures: record.failures,
            failure: record.failure, updatedAt: milliseconds(record.updatedAt))
    }
}

extension ModelEvent {
    init(_ record: EventRecord) {
        self.init(
            at: milliseconds(record.at), kind: record.kind, name: record.name, attempt: record.attempt,
            payload: record.payload)
    }
}

private func milliseconds(_ date: Date) -> Int64 { Timestamp(date).milliseconds }

/// The answers to several submissions, and the order in which they came.
final class AnswerCollection: Sendable {
    private struct State {
        var answers: [ModelAnswer?]
        var order: [Int] = []
    }

    private let state: Mutex<State>
    let all = Promise<ModelAnswer>()

    private let inOrder: Bool

    init(count: Int, inOrder: Bool) {
        self.inOrder = inOrder
        state = Mutex(State(answers: Array(repeating: nil, count: count)))
        if count == 0 { all.fulfil(.many([])) }
    }

    func add(_ answer: ModelAnswer, from index: Int) {
        let complete = state.withLock { state -> ModelAnswer? in
            guard state.answers[index] == nil else { return .defect("submission \(index) was answered twice") }
            state.answers[index] = answer
            state.order.append(index)
            let answers = state.answers.compactMap { $0 }
            guard answers.count == state.answers.count else { return nil }
            return !inOrder || state.order == state.order.sorted()
                ? .many(answers) : .defect("answered in the order \(state.order)")
        }
        if let complete { all.fulfil(complete) }
    }
}
