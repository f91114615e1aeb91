import Foundation

/// A durable sleep: a row with a due time.
struct SleepExecution: Sendable {
    let name: String
    let duration: Duration
    let scope: Scope
    let execution: RunExecution

    private var attempt: StepAttempt { StepAttempt(key: name, scope: scope.path, attempt: 1) }

    func sleep() async throws {
        try execution.admit(name, as: .step, in: scope)
        let input = "\(duration.wholeMilliseconds)"
        var record = execution.recordedSteps[name]
        if record?.scope != scope.path { record = nil }
        if let record {
            try match(record, input)
            if record.state == .done { return }
        }
        try execution.require(.effect)
        try Task.checkCancellation()
        let due: Timestamp
        if let recorded = record?.nextAttemptAt {
            due = Timestamp(recorded)
            let status = execution.withActivity { $0.beginSleep(name, until: due) }
            if let status { try execution.enqueue([status], at: .sleep(name, "resume")) }
        } else {
            due = execution.now.advanced(by: duration)
            try await intend(input, due)
        }
        try execution.core.pass(.before, .sleep(name, "effect"))
        do {
            try await execution.pause(until: due)
        } catch {
            execution.withActivity { $0.abandonSleep(name) }
            throw error
        }
        try execution.core.pass(.after, .sleep(name, "effect"))
        try execution.enqueue(
            try await execution.leaveWait(name) + [.done(attempt, output: "null")], at: .sleep(name, "done"))
    }

    private func intend(_ input: String, _ due: Timestamp) async throws {
        let intent = StepIntent(
            attempt: attempt, kind: .sleep, generation: scope.generation, failures: 0, crashes: 0,
            idempotencyKey: Names.idempotencyKey(run: execution.id, kind: "step", scope: scope.path, name: name),
            policy: .retry, input: input, inputHash: Payload.hash(input), progress: nil, wakeAt: due, deadlineAt: nil)
        let status = execution.withActivity { $0.beginSleep(name, until: due) }.map { [$0] } ?? []
        try await execution.commit(status + [.intent(intent)], at: .sleep(name, "intent"))
    }

    private func match(_ record: StepRecord, _ input: String) throws {
        guard record.inputHash != Payload.hash(input) || record.kind != .sleep else { return }
        let reason = WorkflowError(
            .stepInputChanged,
            "sleep '\(name)' was recorded with \(record.input ?? "no") milliseconds and is \(input) now: resume the run "
                + "with the version that recorded it, or cancel it")
        throw execution.halt(reason)
    }
}
