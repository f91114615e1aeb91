import Foundation

/// Starts a run on behalf of another one, or finds the one that it started.
struct ChildExecution: Sendable {
    let name: String
    let scope: Scope
    let execution: RunExecution

    func start<W: WorkflowDefinition>(
        _ workflow: W.Type, input: W.Input, place: QueuePlace, labels: [String: String], timeout: Duration?
    ) async throws -> ChildRun<W.Output> {
        try execution.admit(name, as: .child, in: scope)
        try Names.check(place.queue, what: "queue")
        try Limits.check(timeout, what: "the timeout of child '\(name)'")
        let text = try execution.encode(input, what: "the input of child '\(name)'")
        _ = try execution.encode(labels, what: "the labels of child '\(name)'")
        if let known = try await execution.children()[name] {
            try match(known, W.self, text)
            return child(known.id, known, as: W.self)
        }
        try execution.require(.effect)
        try Task.checkCancellation()
        let core = execution.core
        let new = NewChild(
            id: core.configuration.makeRunID(core.clock.now()), name: name, workflow: W.name, version: W.version,
            input: text, inputHash: Payload.hash(text), labels: labels,
            deadlineAt: timeout.map { execution.now.advanced(by: $0) }, place: place)
        // It need not be on disk before it is waited for: whoever resumes the run without it starts it anew.
        if core.store.isCongested {
            try await execution.commit([.child(new)], at: .child(name, "start"))
        } else {
            try execution.enqueue([.child(new)], at: .child(name, "start"))
        }
        return child(new.id, nil, as: W.self)
    }

    private func child<W: WorkflowDefinition>(
        _ id: RunID, _ known: RunRecord?, as workflow: W.Type
    ) -> ChildRun<W.Output> {
        let decode = execution.core.decoder(W.self)
        return ChildRun(id: id, name: name) { [self] in
            let record = try await ended(id, known)
            guard record.recordedStatus == .succeeded, let output = record.output else {
                throw ChildFailure(
                    child: name, run: id, status: record.recordedStatus,
                    failure: record.failure ?? .unrecorded(nil))
            }
            do {
                return try decode(output)
            } catch let error as WorkflowError {
                throw execution.halt(error)
            }
        }
    }

    /// Waits for the end of the child.
    private func ended(_ id: RunID, _ known: RunRecord?) async throws -> RunRecord {
        try execution.requireInside(scope, "the result of child '\(name)'")
        if let known, known.recordedStatus.isFinished {
            try execution.require(.replay)
            return known
        }
        try execution.require(.effect)
        try Task.checkCancellation()
        let wait = "child:\(name)"
        if let status = execution.withActivity({ $0.beginSleep(wait, until: nil) }) {
            try execution.enqueue([status], at: .child(name, "wait"))
        }
        let watcher = execution.core.watcher
        do {
            let ending = try await execution.effect(at: .child(name, "effect")) {
                while true {
                    if case .ended(let record) = try await watcher.wait(for: .end(id)) { return record }
                }
            }
            try execution.require(.effect)
            switch ending {
            case .returned(let record):
                let status = try await execution.leaveWait(wait)
                if !status.isEmpty { try execution.enqueue(status, at: .child(name, "resume")) }
                return record
            case .threw(let error as WorkflowError): throw execution.fail(error)
            case .threw, .timedOut, .abandoned: throw CancellationError()
            }
        } catch {
            execution.withActivity { $0.abandonSleep(wait) }
            throw error
        }
    }

    private func match<W: WorkflowDefinition>(_ record: RunRecord, _ workflow: W.Type, _ input: String) throws {
        guard record.workflow != W.name || record.inputHash != Payload.hash(input) else { return }
        throw execution.halt(
            WorkflowError(
                .stepInputChanged,
                "child '\(name)' was started as workflow '\(record.workflow)' with another input or name.\n  recorded: "
                    + "\(Payload.excerpt(record.input, limit: 300))\n       now: \(Payload.excerpt(input, limit: 300))\n"
                    + "Resume the run with the version that started it, or cancel it."))
    }
}
