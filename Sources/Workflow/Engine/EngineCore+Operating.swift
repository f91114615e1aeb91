import Foundation

extension EngineCore {
    func cancel(_ id: RunID) async throws -> Bool {
        try await store.requestCancellation(id)
        if let execution = execution(id) {
            execution.cancel()
            return true
        }
        if await store.isHeld(id) { return true }
        // Its holder may have been so quick that it is over already.
        return try await store.run(id)?.recordedStatus.isFinished ?? false
    }

    func decide(_ id: RunID, step: String, _ decision: InDoubtDecision) async throws {
        if case .done(let output) = decision {
            do {
                _ = try Payload.decode(JSONText.self, from: output)
            } catch {
                throw WorkflowError(
                    .invalidPayload, "the output given for step '\(step)' is no JSON: \(output)", cause: error)
            }
        }
        let claimed = try await claim(id, purpose: .decision)
        do {
            // One that may simply happen again is in nobody's doubt: a resume runs it.
            let isInDoubt = claimed.steps.contains {
                $0.name == step && $0.kind == .step && $0.state == .intended && $0.inDoubtPolicy != .retry
            }
            guard isInDoubt else {
                throw WorkflowError(
                    .inDoubt(step: step), "step '\(step)' of run \(id) is not in doubt: look at its plan")
            }
            try await store.commit(
                [.decide(step: step, decision), .event(NewEvent("step.decided", name: step, payload: decision.facts))],
                run: id, epoch: claimed.claim.epoch)
        } catch {
            await store.relinquish(claimed.claim, isOver: false)
            throw error
        }
        await store.relinquish(claimed.claim, isOver: false)
    }

    func withAbandonedRun<T: Sendable>(
        _ id: RunID, _ body: (ClaimedRun) async throws -> T
    ) async throws -> T? {
        let claimed: Claimed
        switch try await store.claim(id, owner: owner(), purpose: .collection) {
        case .claimed(let result): claimed = result
        case .held, .finished, .unknown: return nil
        }
        let isFinished = claimed.record.recordedStatus.isFinished
        let run = ClaimedRun(record: claimed.record, resources: claimed.resources) { [store] writes in
            try await store.commit(writes, run: id, epoch: claimed.claim.epoch)
        }
        do {
            let value = try await body(run)
            await store.relinquish(claimed.claim, isOver: isFinished)
            return value
        } catch {
            await store.relinquish(claimed.claim, isOver: isFinished)
            throw error
        }
    }
}

/// Any JSON value, to find out whether a text is one.
private enum JSONText: Decodable {
    case any

    init(from decoder: any Decoder) throws {
        self = .any
    }
}

extension InDoubtDecision {
    fileprivate var facts: [String: String] {
        switch self {
        case .runAgain: ["decision": "run again"]
        case .done: ["decision": "done"]
        case .failed(let reason): ["decision": "failed", "reason": reason]
        }
    }
}

extension ResumePlan {
    init(run: RunRecord, steps: [StepRecord], resources: [ResourceRecord], now: Date) {
        var newest: [String: ResourceRecord] = [:]
        for resource in resources { newest["\(resource.scope)\n\(resource.name)"] = resource }
        let current = resources.filter { newest["\($0.scope)\n\($0.name)"] == $0 }
        self.init(
            run: run, steps: steps.map { Step(record: $0, action: .init($0, current)) },
            resources: current.map { Resource(record: $0, action: .init($0.state)) },
            isCancelRequested: run.cancelRequestedAt != nil,
            isPastDeadline: run.deadlineAt.map { $0 <= now } ?? false)
    }
}

extension ResumePlan.StepAction {
    fileprivate init(_ step: StepRecord, _ resources: [ResourceRecord]) {
        if !step.scope.isEmpty, !resources.contains(where: { $0.contains(step) }) {
            self = .takeAgain
            return
        }
        switch step.state {
        case .done: self = .useOutput
        case .failed:
            self = step.nextAttemptAt.map { .retry(at: $0) } ?? .throwFailure(step.failure ?? .unrecorded(step.name))
        case .intended:
            if step.kind == .sleep {
                self = .sleep(until: step.nextAttemptAt ?? step.startedAt)
            } else {
                switch step.inDoubtPolicy {
                case .retry: self = .runAgain
                case .verify: self = .verify
                case .ask: self = .ask
                }
            }
        }
    }
}

extension ResourceRecord {
    /// Whether a step was taken in this generation. A lost one's steps are taken again.
    fileprivate func contains(_ step: StepRecord) -> Bool {
        state != .lost && step.scope == Scope.path(outer: scope, name: name, generation: generation)
    }
}

extension ResumePlan.ResourceAction {
    fileprivate init(_ state: ResourceRecord.State) {
        switch state {
        case .intended: self = .findOrCreate
        case .held: self = .use
        case .releasing: self = .finishRelease
        case .released, .lost: self = .nextGenerationIfNeeded
        }
    }
}
