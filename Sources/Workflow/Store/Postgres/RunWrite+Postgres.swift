import Foundation

/// The changes of one run under one epoch, as statements. Nothing is asked in between, so all travel at once.
extension WriteBatch {
    func queries(now: Timestamp) -> [PostgresQuery] {
        writes.flatMap { write -> [PostgresQuery] in
            var queries = [query(write, now)]
            if case .intent(let intent) = write, intent.attempt.attempt > 1 {
                // The row itself tells of the first attempt.
                let event = NewEvent("step.started", name: intent.attempt.key, attempt: intent.attempt.attempt)
                queries.append(query(.event(event), now))
            }
            return queries
        }
    }

    private func query(_ write: RunWrite, _ now: Timestamp) -> PostgresQuery {
        let (statement, values) = parts(write)
        return PostgresQuery(
            prepared: statement.name, [run.description, "\(epoch)", "\(now.milliseconds)"] + values)
    }

    /// The statement, and its values from the fourth on.
    private func parts(_ write: RunWrite) -> (RunStatement, [String?]) {
        switch write {
        case .intent(let intent): (.intent, values(intent))
        case .done(let attempt, let output): (.done, values(attempt) + [output])
        case .failed(let attempt, let ending): (.failed, values(attempt) + values(ending))
        case .progress(let attempt, let progress): (.progress, values(attempt) + [progress])
        case .decide(let step, let decision): (.decide, values(step, decision))
        case .status(let status, let wakeAt): (.status, [status.rawValue, text(wakeAt)])
        case .finish(let status, let output, let failure):
            (.finish, [status.rawValue, output, failure.map { Payload.text(of: $0) }])
        case .resourceIntent(let intent): (.resourceIntent, values(intent))
        case .resourceHeld(let key, let externalID, let handle): (.resourceHeld, [key, externalID, handle])
        case .resourceState(let key, let from, let to):
            (.resourceState, [key, to.rawValue, "{\(from.map(\.rawValue).joined(separator: ","))}"])
        case .resourceFailed(let key, let failures, let failure, let next):
            (.resourceFailed, [key, "\(failures)", Payload.text(of: failure), text(next)])
        case .child(let child): (.child, values(child))
        case .receive(let signal, let wait): (.receive, ["\(signal)", wait])
        case .rest(let rest): (.rest, [rest.rawValue])
        case .event(let event):
            (.event, [event.kind, event.name, event.attempt.map { "\($0)" }, event.payload, event.dedupKey])
        }
    }

    private func values(_ attempt: StepAttempt) -> [String?] {
        [attempt.key, attempt.scope, "\(attempt.attempt)"]
    }

    private func values(_ intent: StepIntent) -> [String?] {
        values(intent.attempt) + [
            intent.kind.rawValue, "\(intent.generation)", "\(intent.failures)", "\(intent.crashes)",
            intent.idempotencyKey, intent.policy.rawValue, intent.input, intent.inputHash, intent.progress,
            text(intent.wakeAt), text(intent.deadlineAt),
        ]
    }

    private func values(_ ending: StepEnding) -> [String?] {
        [
            ending.state.rawValue, "\(ending.failures)", "\(ending.crashes)", Payload.text(of: ending.failure),
            text(ending.nextAttemptAt), ending.progress, ending.isFinal ? "1" : "0",
        ]
    }

    private func values(_ step: String, _ decision: InDoubtDecision) -> [String?] {
        switch decision {
        case .runAgain: return [step, StepRecord.State.failed.rawValue, nil, nil, "0"]
        case .done(let json): return [step, StepRecord.State.done.rawValue, json, nil, "1"]
        case .failed(let reason):
            let failure = Failure(kind: .error, type: "InDoubtDecision", message: reason, step: step, payload: nil)
            return [step, StepRecord.State.failed.rawValue, nil, Payload.text(of: failure), "1"]
        }
    }

    private func values(_ intent: ResourceIntent) -> [String?] {
        [
            intent.key.idempotencyKey, intent.key.name, intent.kind, intent.scope, "\(intent.key.generation)",
            "\(Timestamp(intent.key.intendedAt).milliseconds)",
        ]
    }

    private func values(_ child: NewChild) -> [String?] {
        [
            child.id.description, child.name, child.workflow, "\(child.version)", child.input, child.inputHash,
            Payload.text(of: child.labels), text(child.deadlineAt), child.place.queue, "\(child.place.priority)",
            text(child.place.notBefore),
        ]
    }

    private func text(_ time: Timestamp?) -> String? { time.map { "\($0.milliseconds)" } }
}
