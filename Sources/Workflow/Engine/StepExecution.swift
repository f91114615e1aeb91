import Foundation
import Logging

/// A step as its caller declares it.
struct StepDefinition: Sendable {
    let name: String
    let input: (any Encodable & Sendable)?
    let retry: RetryPolicy
    let timeout: Duration?
    let heartbeat: Duration?
    let inDoubt: InDoubtPolicy<StepOutput>
}

/// What a step answered. Nothing below its caller knows the type of the value: generic code in every layer would look
/// up types at run time, which costs more than to carry a value in a box.
struct StepOutput: Sendable {
    /// The value as JSON.
    let text: String
    /// The value itself; `nil` when it comes from a checkpoint.
    let value: (any Sendable)?
}

/// Takes one step: from its checkpoint, or by attempts.
struct StepExecution: Sendable {
    typealias Body = @Sendable (StepContext) async throws -> StepOutput

    let step: StepDefinition
    let scope: Scope
    let execution: RunExecution
    private let idempotencyKey: String

    init(step: StepDefinition, scope: Scope, execution: RunExecution) {
        self.step = step
        self.scope = scope
        self.execution = execution
        idempotencyKey = Names.idempotencyKey(run: execution.id, kind: "step", scope: scope.path, name: step.name)
    }

    func output(of body: @escaping Body) async throws -> StepOutput {
        try execution.admit(step.name, as: .step, in: scope)
        try Limits.check(step.timeout, what: "the timeout of step '\(step.name)'")
        try Limits.check(step.heartbeat, what: "the heartbeat of step '\(step.name)'")
        let input = try step.input.map { try execution.encode($0, what: "the input of step '\(step.name)'") }
        var record = execution.recordedSteps[step.name]
        if record?.scope != scope.path { record = nil }
        if let record {
            try match(record, input)
            if let recorded = try recordedResult(record) {
                execution.core.metrics.stepReplayed(execution.workflow)
                return try recorded.get()
            }
        }
        try execution.require(.effect)
        try Task.checkCancellation()
        try await scope.requireResources()
        let began = ContinuousClock.now
        let result: Result<StepOutput, any Error>
        do {
            result = .success(try await take(body, input, after: record))
        } catch {
            result = .failure(error)
        }
        execution.core.metrics.stepEnded(execution.workflow, step.name, outcome: result.outcome, since: began)
        return try result.get()
    }

    /// Attempts it until it has an output, after settling what an earlier process left.
    private func take(_ body: @escaping Body, _ input: String?, after record: StepRecord?) async throws -> StepOutput {
        var ledger = AttemptLedger(record)
        if let record {
            if let output = try await settle(record, &ledger) { return output }
        }
        while true {
            if let output = try await attempt(body, input, &ledger) { return output }
        }
    }

    // MARK: - Checkpoints

    /// The result that an earlier process recorded for good.
    private func recordedResult(_ record: StepRecord) throws -> Result<StepOutput, any Error>? {
        switch record.state {
        case .done: return .success(StepOutput(text: record.output ?? "", value: nil))
        case .failed where record.nextAttemptAt == nil:
            return .failure(failure(record.attempt, record.failure ?? .unrecorded(step.name)))
        case .failed, .intended:
            return nil
        }
    }

    private func match(_ record: StepRecord, _ input: String?) throws {
        guard record.inputHash != input.map(Payload.hash) || record.kind != .step else { return }
        func show(_ text: String?) -> String { text.map { Payload.excerpt($0, limit: 300) } ?? "no input" }
        let reason = WorkflowError(
            .stepInputChanged,
            "step '\(step.name)' was recorded with another input.\n  recorded: \(show(record.input))\n"
                + "       now: \(show(input))\nResume the run with the version that recorded it, or cancel it.")
        throw execution.halt(reason)
    }

    // MARK: - What an earlier process left

    /// Deals with an attempt that an earlier process began: afterwards the next attempt may begin.
    ///
    /// - Returns: the output if the attempt turns out to have had one.
    private func settle(_ record: StepRecord, _ ledger: inout AttemptLedger) async throws -> StepOutput? {
        guard record.state == .intended else {
            if let due = record.nextAttemptAt { try await execution.pause(until: Timestamp(due)) }
            return nil
        }
        if record.failure == nil {
            ledger.crashes += 1
            if ledger.crashes > execution.core.configuration.crashLimit {
                let failure = Failure(
                    kind: .crashed, type: "Workflow.WorkflowError",
                    message: "the process died \(ledger.crashes) times during the step", step: step.name, payload: nil)
                try end(ledger, failure, state: .failed)
                throw self.failure(ledger.attempt, failure)
            }
        }
        // What was declared not to happen twice when the attempt began stays so, whatever the step declares today.
        return try await resolveDoubt(record.inDoubtPolicy == .ask ? step.inDoubt.orAsk : step.inDoubt, &ledger)
    }

    /// The current attempt may have had its effect.
    ///
    /// - Returns: the output if it had; `nil` if the step is to be run again.
    private func resolveDoubt(
        _ policy: InDoubtPolicy<StepOutput>, _ ledger: inout AttemptLedger
    ) async throws -> StepOutput? {
        let event = NewEvent(
            "step.in_doubt", name: step.name, attempt: ledger.attempt, payload: ["policy": policy.name.rawValue])
        try execution.enqueue([.event(event)], at: .step(step.name, "doubt"))
        switch policy {
        case .retry: return nil
        case .ask: throw hold()
        case .verify(let verify):
            for failures in 1... {
                switch try await verdict(verify, ledger) {
                case .returned(.done(let output)):
                    try record(output, ledger)
                    return output
                case .returned(.notDone): return nil
                case .returned(.unknown): throw hold()
                case .threw, .timedOut, .abandoned:
                    guard failures < step.retry.attempts else { throw hold() }
                    let delay = step.retry.delay(
                        afterFailures: failures, random: execution.core.configuration.random())
                    try await execution.pause(until: execution.now.advanced(by: delay))
                }
            }
            return nil
        }
    }

    private func verdict(
        _ verify: @escaping @Sendable (StepContext) async throws -> InDoubtVerdict<StepOutput>, _ ledger: AttemptLedger
    ) async throws -> Ending<InDoubtVerdict<StepOutput>> {
        let deadline = step.timeout.map { execution.now.advanced(by: $0) }
        let log = ProgressLog(attempt: attempt(ledger), latest: ledger.progress, execution: execution)
        let context = context(ledger, deadline, log)
        let ending = try await execution.effect(at: .step(step.name, "verify"), until: deadline) {
            try await verify(context)
        }
        _ = log.close()
        try execution.require(.effect)
        return ending
    }

    private func hold() -> WorkflowError {
        let reason = WorkflowError(
            .inDoubt(step: step.name),
            "step '\(step.name)' is in doubt: it was begun and its outcome is not known. Find out whether its effect "
                + "happened, decide (run again, done, or failed), and resume.")
        return execution.halt(reason)
    }

    // MARK: - Attempts

    /// - Returns: the output, or `nil` if another attempt is to be made.
    private func attempt(
        _ body: @escaping Body, _ input: String?, _ ledger: inout AttemptLedger
    ) async throws -> StepOutput? {
        try execution.requireInside(scope, "step '\(step.name)'")
        try execution.require(.effect)
        // What waits for a place in a queue has not begun.
        let status = try await execution.enterBody()
        ledger.attempt += 1
        let deadline = step.timeout.map { execution.now.advanced(by: $0) }
        try await intend(ledger, input, deadline, status)
        let log = ProgressLog(
            attempt: attempt(ledger), latest: ledger.progress, heartbeat: step.heartbeat, execution: execution)
        let context = context(ledger, deadline, log)
        let ending = try await execution.core.spans.attempt(ledger.attempt, of: step.name, run: execution.id) {
            try await execution.effect(
                at: .step(step.name, "effect"), until: deadline, heartbeat: log.heartbeat
            ) { try await body(context) }
        }
        execution.core.metrics.attemptEnded(execution.workflow, step.name, outcome: ending.name)
        execution.leaveBody()
        ledger.progress = log.close()
        switch ending {
        case .returned(let output):
            try record(output, ledger)
            return output
        case .threw(let error): return try await recover(from: error, &ledger)
        case .abandoned: return try await recover(from: CancellationError(), &ledger)
        case .timedOut:
            let failure = Failure(
                kind: .timeout, type: "Workflow.Timeout",
                message: timeoutMessage(log.heartbeat), step: step.name, payload: nil)
            return try await retry(after: failure, isInDoubt: true, &ledger)
        }
    }

    private func timeoutMessage(_ heartbeat: Heartbeat?) -> String {
        if let heartbeat, heartbeat.isMissed { return "the attempt reported nothing for \(heartbeat.limit)" }
        return "the attempt took longer than \(step.timeout ?? .zero)"
    }

    private func intend(
        _ ledger: AttemptLedger, _ input: String?, _ deadline: Timestamp?, _ status: [RunWrite]
    ) async throws {
        let intent = StepIntent(
            attempt: attempt(ledger), kind: .step, generation: scope.generation, failures: ledger.failures,
            crashes: ledger.crashes, idempotencyKey: idempotencyKey, policy: step.inDoubt.name, input: input,
            inputHash: input.map(Payload.hash), progress: ledger.progress, wakeAt: nil, deadlineAt: deadline)
        do {
            try await execution.commit(status + [.intent(intent)], at: .step(step.name, "intent"))
            try execution.require(.effect)
        } catch {
            execution.leaveBody()
            throw error
        }
    }

    /// Records the output with the next commit, and with it that this step is done.
    private func record(_ output: StepOutput, _ ledger: AttemptLedger) throws {
        try execution.enqueue([.done(attempt(ledger), output: output.text)], at: .step(step.name, "done"))
    }

    /// - Returns: `nil` if another attempt is to be made.
    private func recover(from error: any Error, _ ledger: inout AttemptLedger) async throws -> StepOutput? {
        switch execution.phase {
        case .stopped(let reason):
            // The outcome is in doubt, but not by a crash.
            try end(ledger, Failure(.interrupted, error, step: step.name), state: .intended)
            throw reason
        case .cancelling(let reason):
            try end(ledger, Failure(.cancelled, error, step: step.name), state: .intended)
            throw reason
        case .running:
            break
        }
        if Task.isCancelled {
            // A sibling failed, or the workflow gave this step up. It stays in doubt for a resume to take again.
            try end(ledger, Failure(.interrupted, error, step: step.name), state: .intended)
            throw error
        }
        if let lost = error as? ResourceLost {
            if try await scope.confirmLoss(named: lost.name) {
                try end(ledger, Failure(.resourceLost, error, step: step.name), state: .failed)
                throw lost
            }
            return try await retry(
                after: Failure(.resourceLost, error, step: step.name), isInDoubt: false, &ledger)
        }
        let classified = error as? any RetryClassifying
        let failure = Failure(.error, error, step: step.name)
        if let classified, classified.isBlocked {
            try end(ledger, failure, state: classified.isInDoubt ? .intended : .failed, next: execution.now)
            throw execution.halt(.blocked(by: "step '\(step.name)'", error))
        }
        if let classified, !classified.isRetryable, !classified.isInDoubt {
            ledger.failures += 1
            try end(ledger, failure, state: .failed)
            throw self.failure(ledger.attempt, failure)
        }
        return try await retry(after: failure, isInDoubt: classified?.isInDoubt ?? false, &ledger)
    }

    /// Counts a failed attempt and waits for the next one to be due; throws when there is none left.
    private func retry(
        after failure: Failure, isInDoubt: Bool, _ ledger: inout AttemptLedger
    ) async throws -> StepOutput? {
        ledger.failures += 1
        let isLast = ledger.failures >= step.retry.attempts
        let isAnswered = isInDoubt && step.inDoubt.name != .retry
        if isLast, !isAnswered {
            try end(ledger, failure, state: .failed)
            throw self.failure(ledger.attempt, failure)
        }
        let delay = step.retry.delay(
            afterFailures: ledger.failures, random: execution.core.configuration.random())
        let due = execution.now.advanced(by: delay)
        try end(ledger, failure, state: isAnswered ? .intended : .failed, next: due)
        if isAnswered {
            if let output = try await resolveDoubt(step.inDoubt, &ledger) { return output }
            if isLast {
                try end(ledger, failure, state: .failed)
                throw self.failure(ledger.attempt, failure)
            }
        }
        try await execution.pause(until: due)
        return nil
    }

    /// Records how the attempt ended without an output. Without `next`, `failed` is for good.
    private func end(
        _ ledger: AttemptLedger, _ failure: Failure, state: StepRecord.State, next: Timestamp? = nil
    ) throws {
        let ending = StepEnding(
            state: state, failures: ledger.failures, crashes: ledger.crashes, failure: failure, nextAttemptAt: next,
            progress: ledger.progress, isFinal: state == .failed && next == nil)
        let kind =
            switch failure.kind {
            case .interrupted, .cancelled: "step.interrupted"
            case .error, .timeout, .crashed, .resourceLost: ending.isFinal ? "step.failed" : "step.retrying"
            }
        try execution.enqueue(
            [
                .failed(attempt(ledger), ending),
                .event(NewEvent(kind, name: step.name, attempt: ledger.attempt, payload: failure)),
            ], at: .step(step.name, "failed"))
    }

    // MARK: - Parts

    private func attempt(_ ledger: AttemptLedger) -> StepAttempt {
        StepAttempt(key: step.name, scope: scope.path, attempt: ledger.attempt)
    }

    private func context(_ ledger: AttemptLedger, _ deadline: Timestamp?, _ log: ProgressLog) -> StepContext {
        StepContext(
            runID: execution.id, name: step.name, idempotencyKey: idempotencyKey, attempt: ledger.attempt,
            deadline: deadline?.date, progress: log)
    }

    private func failure(_ attempts: Int, _ failure: Failure) -> StepFailure {
        StepFailure(step: step.name, attempts: attempts, failure: failure)
    }
}

extension Result {
    /// How a step went on, as metrics call it.
    fileprivate var outcome: String {
        switch self {
        case .success: "done"
        case .failure(let error) where error is StepFailure: "failed"
        case .failure: "stopped"
        }
    }
}

extension Failure {
    /// For a row that says "failed" and does not say why.
    static func unrecorded(_ step: String?) -> Failure {
        Failure(kind: .error, type: "", message: "the error was not recorded", step: step, payload: nil)
    }
}
