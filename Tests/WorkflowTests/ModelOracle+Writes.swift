import Foundation

@testable import Workflow

/// What each kind of change does to what is recorded, and which it refuses.
extension ModelOracle {
    /// All changes of a batch or none.
    mutating func apply(_ batch: ModelBatch) -> ModelAnswer {
        var changed = self
        for write in batch.writes {
            if let refusal = changed.apply(write, batch) { return .refused(refusal) }
        }
        self = changed
        return .done
    }

    /// - Returns: why the change is refused.
    private mutating func apply(_ write: RunWrite, _ batch: ModelBatch) -> WorkflowError.Code? {
        let id = batch.run
        guard let run = runs[id], run.epoch == batch.epoch else { return .takenOver }
        // The log goes on after the end, and a garbage collector closes what a finished run left open.
        switch write {
        case .event(let event): return append(event, id)
        case .resourceState(let key, let from, let to): return move(key, from, to, id)
        default: break
        }
        if run.recorded.isFinished { return .takenOver }
        switch write {
        case .intent(let intent): return apply(intent, id)
        case .done(let attempt, let output):
            let refusal = change(attempt, id) { step, now in
                step.state = .done
                step.output = output
                step.failure = nil
                if step.kind == .step { step.nextAttemptAt = nil }
                step.deadlineAt = nil
                step.finishedAt = now
            }
            if refusal == nil { tell("done", of: attempt.key, id) }
            return refusal
        case .failed(let attempt, let ending):
            return change(attempt, id) { step, now in
                step.state = ending.state
                step.failures = ending.failures
                step.crashes = ending.crashes
                step.failure = ending.failure
                step.nextAttemptAt = ending.nextAttemptAt?.milliseconds
                step.deadlineAt = nil
                step.progress = ending.progress ?? step.progress
                step.finishedAt = ending.isFinal ? now : nil
            }
        case .progress(let attempt, let progress):
            return change(attempt, id) { step, _ in step.progress = progress }
        case .decide(let step, let decision): return decide(step, decision, id)
        case .status(let status, let wakeAt):
            guard [.pending, .running, .sleeping].contains(status) else { return .storeFailed }
            runs[id]?.recorded = status
            runs[id]?.wakeAt = wakeAt?.milliseconds
            runs[id]?.updatedAt = now
        case .finish(let status, let output, let failure):
            guard status.isFinished, status != .succeeded || output != nil else { return .storeFailed }
            runs[id]?.recorded = status
            runs[id]?.output = output
            runs[id]?.failure = failure
            runs[id]?.wakeAt = nil
            runs[id]?.updatedAt = now
            runs[id]?.finishedAt = now
        case .resourceIntent(let intent): return apply(intent, id)
        case .resourceHeld(let key, let externalID, let handle):
            return change(key, id) { resource in
                guard resource.state == .intended else { return false }
                resource.state = .held
                resource.externalID = externalID
                resource.handle = handle
                resource.failures = 0
                resource.failure = nil
                return true
            }
        case .resourceFailed(let key, let failures, let failure, _):
            return change(key, id) { resource in
                resource.failures = failures
                resource.failure = failure
                return true
            }
        // Those of queues, children and signals have a model of their own.
        case .event, .resourceState, .child, .receive, .rest: break
        }
        return nil
    }

    // MARK: - Steps

    /// A checkpoint is never overwritten in its generation, nor an attempt by itself or an earlier one.
    private mutating func apply(_ intent: StepIntent, _ id: RunID) -> WorkflowError.Code? {
        guard intent.attempt.attempt >= 1 else { return .storeFailed }
        var step = ModelStep(
            name: intent.attempt.key, kind: intent.kind, scope: intent.attempt.scope, generation: intent.generation,
            state: .intended, attempt: intent.attempt.attempt, failures: intent.failures, crashes: intent.crashes,
            idempotencyKey: intent.idempotencyKey, policy: intent.policy, input: intent.input,
            inputHash: intent.inputHash, progress: intent.progress, nextAttemptAt: intent.wakeAt?.milliseconds,
            deadlineAt: intent.deadlineAt?.milliseconds, startedAt: now)
        guard let index = steps[id]?.firstIndex(where: { $0.name == step.name }), let old = steps[id]?[index] else {
            steps[id, default: []].append(step)
            tell("started", of: step.name, id)
            return nil
        }
        if old.scope == step.scope {
            guard old.state != .done, old.attempt < step.attempt else { return .storeFailed }
            step.startedAt = old.startedAt
        }
        steps[id]?[index] = step
        tell("started", of: step.name, id)
        return nil
    }

    /// The log tells of every attempt that begins and of every step that is done.
    private mutating func tell(_ what: String, of name: String, _ id: RunID) {
        guard let step = steps[id]?.first(where: { $0.name == name }) else { return }
        let isSleep = step.kind == .sleep
        let until = step.nextAttemptAt.map { #"{"until":\#($0)}"# }
        events[id, default: []].append(
            ModelEvent(
                at: now, kind: "\(step.kind.rawValue).\(what)", name: name, attempt: isSleep ? nil : step.attempt,
                payload: isSleep && what == "started" ? until : nil))
    }

    /// Changes an attempt that is under way.
    private mutating func change(
        _ attempt: StepAttempt, _ id: RunID, _ body: (inout ModelStep, Int64) -> Void
    ) -> WorkflowError.Code? {
        let index = steps[id]?.firstIndex {
            $0.name == attempt.key && $0.scope == attempt.scope && $0.attempt == attempt.attempt
                && $0.state == .intended
        }
        guard let index, var step = steps[id]?[index] else { return .storeFailed }
        body(&step, now)
        steps[id]?[index] = step
        return nil
    }

    private mutating func decide(_ name: String, _ decision: InDoubtDecision, _ id: RunID) -> WorkflowError.Code? {
        let index = steps[id]?.firstIndex { $0.name == name && $0.kind == .step && $0.state == .intended }
        guard let index, var step = steps[id]?[index] else { return .storeFailed }
        step.deadlineAt = nil
        step.nextAttemptAt = nil
        step.finishedAt = now
        step.output = nil
        step.failure = nil
        switch decision {
        case .runAgain:
            step.state = .failed
            step.nextAttemptAt = now
            step.finishedAt = nil
        case .done(let output):
            step.state = .done
            step.output = output
        case .failed(let reason):
            step.state = .failed
            step.failure = Failure(
                kind: .error, type: "InDoubtDecision", message: reason, step: name, payload: nil)
        }
        steps[id]?[index] = step
        if step.state == .done { tell("done", of: name, id) }
        return nil
    }

    // MARK: - Resources and events

    private mutating func apply(_ intent: ResourceIntent, _ id: RunID) -> WorkflowError.Code? {
        guard !resources.contains(where: { $0.key == intent.key.idempotencyKey }) else { return .storeFailed }
        resources.append(
            ModelResource(
                run: id, key: intent.key.idempotencyKey, name: intent.key.name, kind: intent.kind,
                scope: intent.scope, generation: intent.key.generation,
                intendedAt: Timestamp(intent.key.intendedAt).milliseconds, state: .intended, failures: 0,
                updatedAt: now))
        return nil
    }

    private mutating func move(
        _ key: String, _ from: [ResourceRecord.State], _ to: ResourceRecord.State, _ id: RunID
    ) -> WorkflowError.Code? {
        let refusal = change(key, id) { resource in
            guard from.contains(resource.state) else { return false }
            resource.state = to
            resource.failures = 0
            resource.failure = nil
            return true
        }
        if refusal != nil { return runs[id]?.recorded.isFinished == true ? .takenOver : .storeFailed }
        // An entry that is held has a handle.
        let isPossible = to != .held || resources.contains { $0.key == key && $0.handle != nil }
        return isPossible ? nil : .storeFailed
    }

    private mutating func change(
        _ key: String, _ id: RunID, _ body: (inout ModelResource) -> Bool
    ) -> WorkflowError.Code? {
        guard let index = resources.firstIndex(where: { $0.key == key && $0.run == id }) else { return .storeFailed }
        var resource = resources[index]
        guard body(&resource) else { return .storeFailed }
        resource.updatedAt = now
        resources[index] = resource
        return nil
    }

    /// An event with a key that the log already has adds nothing.
    private mutating func append(_ event: NewEvent, _ id: RunID) -> WorkflowError.Code? {
        if let key = event.dedupKey, !eventKeys[id, default: []].insert(key).inserted { return nil }
        events[id, default: []].append(
            ModelEvent(
                at: now, kind: event.kind, name: event.name, attempt: event.attempt, payload: event.payload))
        return nil
    }
}
