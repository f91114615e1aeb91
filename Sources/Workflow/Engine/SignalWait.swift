import Foundation

/// A durable wait for a signal: a row like that of a sleep, whose output is what came.
///
/// It belongs to the run and not to a generation of a resource: what was received stays received.
struct SignalWait: Sendable {
    let name: String
    let timeout: Duration?
    let scope: Scope
    let execution: RunExecution

    /// - Returns: the payload as JSON, or `nil` when the time was up.
    func payload() async throws -> String? {
        try Names.check(name, what: "signal")
        try Limits.check(timeout, what: "the timeout of the wait for signal '\(name)'")
        guard let number = execution.beginSignalWait("\(scope.path)\n\(name)", name: name) else {
            throw WorkflowError(
                .duplicateName,
                "signal '\(name)' is waited for twice at once in run \(execution.id): nobody could say who gets it")
        }
        defer { execution.endSignalWait(name: name) }
        let key = key(number)
        try execution.admit(key, as: .step, in: scope)
        let record = execution.recordedSteps[key]
        if let record {
            guard record.kind == .sleep, record.inputHash == Payload.hash(input) else { throw unfitting(key) }
            if record.state == .done { return try Self.payload(in: record.output ?? "[]") }
        }
        try execution.require(.effect)
        try Task.checkCancellation()
        return try await receive(key, after: record)
    }

    private func receive(_ key: String, after record: StepRecord?) async throws -> String? {
        let attempt = StepAttempt(key: key, scope: "", attempt: 1)
        let due: Timestamp?
        if let record {
            due = record.nextAttemptAt.map(Timestamp.init)
            let status = execution.withActivity { $0.beginSleep(key, until: due) }
            if let status { try execution.enqueue([status], at: .signal(name, "resume")) }
        } else {
            due = timeout.map { execution.now.advanced(by: $0) }
            let intent = StepIntent(
                attempt: attempt, kind: .sleep, generation: 0, failures: 0, crashes: 0,
                idempotencyKey: Names.idempotencyKey(run: execution.id, kind: "signal", scope: "", name: key),
                policy: .retry, input: input, inputHash: Payload.hash(input), progress: nil, wakeAt: due,
                deadlineAt: nil)
            let status = execution.withActivity { $0.beginSleep(key, until: due) }.map { [$0] } ?? []
            try await execution.commit(status + [.intent(intent)], at: .signal(name, "intent"))
        }
        let signal: PendingSignal?
        do {
            signal = try await wait(until: due)
        } catch {
            execution.withActivity { $0.abandonSleep(key) }
            throw error
        }
        let output = signal.map { "[\($0.payload)]" } ?? "[]"
        let taken = signal.map { [RunWrite.receive(signal: $0.seq, by: key)] } ?? []
        try execution.enqueue(
            try await execution.leaveWait(key) + taken + [.done(attempt, output: output)], at: .signal(name, "done"))
        return signal?.payload
    }

    private func wait(until due: Timestamp?) async throws -> PendingSignal? {
        let (id, name, watcher) = (execution.id, name, execution.core.watcher)
        let ending = try await execution.effect(at: .signal(name, "effect"), until: due) {
            while true {
                if case .signalled(let signal) = try await watcher.wait(for: .signal(id, name)) { return signal }
            }
        }
        try execution.require(.effect)
        switch ending {
        case .returned(let signal): return signal
        case .timedOut: return nil
        case .threw(let error as WorkflowError): throw execution.fail(error)
        case .threw, .abandoned: throw CancellationError()
        }
    }

    /// What the wait is called in the run: by the resources that it is in, whatever their generation.
    private func key(_ number: Int) -> String {
        var names = ["signal:\(name)#\(number)"]
        var inner: Scope? = scope
        while let scope = inner, !scope.name.isEmpty {
            names.append(scope.name)
            inner = scope.outer
        }
        let key = names.reversed().joined(separator: "/")
        return key.utf8.count <= 200 ? key : "signal:\(Payload.hash(key).prefix(24))#\(number)"
    }

    private var input: String { Payload.text(of: ["signal": name]) }

    private func unfitting(_ key: String) -> WorkflowError {
        execution.halt(
            WorkflowError(
                .stepInputChanged,
                "'\(key)' was recorded as something else than the wait for signal '\(name)': resume the run with the "
                    + "version that recorded it, or cancel it"))
    }

    /// What is between the brackets.
    private static func payload(in output: String) throws -> String? {
        let inner = output.dropFirst().dropLast()
        return inner.isEmpty ? nil : String(inner)
    }
}
