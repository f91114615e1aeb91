import Foundation
import Logging

/// One use of `withResource`: finds, creates, adopts, replaces and releases the incarnations of one resource.
///
/// What the ledger says decides what happens on entering:
///
/// | newest entry | entering |
/// | --- | --- |
/// | none | intend and create generation 1 |
/// | `intended` | find; adopt, or create |
/// | `held` | go on with it; it is asked whether it lives when a step needs it |
/// | `releasing` | replay the body from checkpoints, then go on releasing |
/// | `released` | replay the body from checkpoints; a step without one begins the next generation |
/// | `lost` | begin the next generation |
struct ResourceScope<R: DurableResource> {
    let resource: R
    let name: String
    let outer: Scope
    let execution: RunExecution

    /// One generation, entered.
    struct Incarnation {
        let key: ResourceKey
        let handle: R.Handle
        let scope: Scope
        /// Whether its release was decided by an earlier process.
        let isEnded: Bool
        /// Whether the ledger has it as released.
        let isReleased: Bool
    }

    /// What comes after the body.
    private enum Next {
        case leave
        case nextGeneration
    }

    func value<T: Sendable>(of body: (RunContext, R.Handle) async throws -> T) async throws -> T {
        try execution.admit(name, as: .resource, in: outer)
        try checkLimits()
        var entry = try await enterRecorded()
        while true {
            let incarnation: Incarnation
            switch entry {
            case .entered(let entered): incarnation = entered
            case .over(let generation):
                entry = try await create(generation: try next(after: generation))
                continue
            }
            let result: Result<T, any Error>
            do {
                let context = RunContext(execution: execution, scope: incarnation.scope)
                result = .success(try await body(context, incarnation.handle))
            } catch {
                result = .failure(error)
            }
            incarnation.scope.leave()
            switch try await leave(incarnation, result.failure) {
            case .leave: return try result.get()
            case .nextGeneration:
                execution.forgetNames(in: incarnation.scope.path)
                entry = .over(generation: incarnation.key.generation)
            }
        }
    }

    // MARK: - Entering

    /// The run only stops: with the limits mended it can go on, and release what it has.
    private func checkLimits() throws {
        do {
            try Limits.check(resource.limits.callTimeout, what: "callTimeout of resource '\(name)'")
            try Limits.check(resource.limits.releaseTimeout, what: "releaseTimeout of resource '\(name)'")
        } catch {
            throw execution.halt(error)
        }
    }

    enum Entry {
        case entered(Incarnation)
        /// This generation is over and its body never ran or cannot be replayed.
        case over(generation: Int)
    }

    private func next(after generation: Int) throws -> Int {
        guard generation < resource.limits.maximumGenerations else {
            throw WorkflowError(
                .resourceLostTooOften,
                "resource '\(name)' was lost \(generation) times, which is all that its limits allow: "
                    + "find out what ends it, then start a new run")
        }
        return generation + 1
    }

    /// Goes on where the ledger says an earlier process was.
    private func enterRecorded() async throws -> Entry {
        let recorded = execution.recordedResources.last { $0.scope == outer.path && $0.name == name }
        guard let entry = recorded else { return try await create(generation: 1) }
        switch entry.state {
        case .intended: return try await adoptOrCreate(entry)
        case .lost: return .over(generation: entry.generation)
        case .held, .releasing, .released: break
        }
        guard let text = entry.handle else {
            if entry.state == .releasing { try await releaseWhatever(entry.key, from: [.releasing]) }
            return .over(generation: entry.generation)
        }
        let handle: R.Handle
        do {
            handle = try Payload.decode(R.Handle.self, from: text)
        } catch {
            throw execution.halt(
                WorkflowError(
                    .invalidPayload,
                    "the handle of resource '\(name)' in the ledger does not decode as \(R.Handle.self): resume the run "
                        + "with the version that recorded it", cause: error))
        }
        return .entered(incarnation(entry.key, handle, state: entry.state, isVerified: false))
    }

    private func create(generation: Int) async throws -> Entry {
        try execution.require(.effect)
        try Task.checkCancellation()
        try await outer.requireResources()
        let key = key(generation)
        try await execution.commit(
            [
                .resourceIntent(ResourceIntent(key: key, kind: R.kind, scope: outer.path)),
                .event(NewEvent("resource.intended", name: name, payload: ["generation": generation])),
            ], at: .resource(name, "create", "intent"))
        return try await create(key, failures: 0)
    }

    /// Creates until it works, looking before every repetition for what the attempt before may have made.
    private func create(_ key: ResourceKey, failures before: Int) async throws -> Entry {
        var failures = before
        while true {
            // The commit or the search before it may have taken longer than the lease on the run.
            try await orGivingUp(key) { try execution.require(.effect) }
            let error: any Error
            let ending = try await effect("create", until: resource.limits.callTimeout) { [resource] in
                try await resource.create(key)
            }
            switch ending {
            case .returned(let handle): return .entered(try hold(key, handle, isVerified: true))
            case .threw(let thrown): error = thrown
            case .timedOut, .abandoned: error = ResourceTimeout(call: "create", limit: resource.limits.callTimeout)
            }
            if case .stopped(let reason) = execution.phase { throw reason }
            try await giveUpIfCancelled(key, error)
            let classified = error as? any RetryClassifying
            if let classified, classified.isBlocked {
                _ = try recordFailure(key, "create", failures, Failure(.error, error, step: name), .none)
                throw execution.halt(.blocked(by: "resource '\(name)'", error))
            }
            failures += 1
            let isFinal = classified.map { !$0.isRetryable && !$0.isInDoubt } ?? false
            let failure = Failure(.error, error, step: name)
            guard !isFinal, failures < resource.limits.createRetry.attempts else {
                try await releaseWhatever(key, from: [.intended])
                throw StepFailure(step: name, attempts: failures, failure: failure)
            }
            let due = try recordFailure(key, "create", failures, failure, resource.limits.createRetry)
            try await orGivingUp(key) { try await execution.pause(until: due) }
            if let found = try await adopt(key, failures: failures) { return found }
        }
    }

    /// What comes before a creation; where it throws because the creation is not wanted any more, that is given up.
    private func orGivingUp(_ key: ResourceKey, _ act: () async throws -> Void) async throws {
        do {
            try await act()
        } catch {
            if case .stopped(let reason) = execution.phase { throw reason }
            try await giveUpIfCancelled(key, error)
            throw error
        }
    }

    /// The creation was begun and is not wanted any more: whatever it made is released before this throws.
    private func giveUpIfCancelled(_ key: ResourceKey, _ error: any Error) async throws {
        let objection = execution.phase.objection(to: .effect)
        guard objection != nil || Task.isCancelled else { return }
        try await releaseWhatever(key, from: [.intended])
        throw objection ?? error
    }

    // MARK: - Adopting

    private func adoptOrCreate(_ entry: ResourceRecord) async throws -> Entry {
        if let objection = execution.phase.objection(to: .effect) {
            try execution.require(.release)
            try await releaseWhatever(entry.key, from: [.intended])
            throw objection
        }
        if let found = try await adopt(entry.key, failures: entry.failures) { return found }
        return try await create(entry.key, failures: entry.failures)
    }

    /// Looks for what was made under the key. The oldest healthy one is adopted, the others are released.
    ///
    /// - Parameter failures: how often it could not be created, as the ledger has it.
    /// - Returns: `nil` if there is none.
    private func adopt(_ key: ResourceKey, failures: Int) async throws -> Entry? {
        let found = try await find(key, isShielded: false, creations: failures)
        guard !found.isEmpty else { return nil }
        var best: (index: Int, liveness: Liveness)?
        for (index, handle) in found.enumerated() {
            let liveness = try await liveness(of: handle, key)
            if liveness == .alive {
                best = (index, liveness)
                break
            }
            if liveness == .unknown, best == nil { best = (index, liveness) }
        }
        for (index, handle) in found.enumerated() where index != best?.index {
            try execution.require(.effect)
            guard try await release(handle, key) else {
                throw unavailable("release a duplicate of", nil)
            }
        }
        guard let best else {
            try await execution.commit(
                [
                    .resourceState(key: key.idempotencyKey, from: [.intended], to: .lost),
                    .event(NewEvent("resource.lost", name: name, payload: ["generation": key.generation])),
                ], at: .resource(name, "lost", "done"))
            return .over(generation: key.generation)
        }
        return .entered(try hold(key, found[best.index], isVerified: best.liveness == .alive))
    }

    /// Looks for what was made under the key, as often as a creation is tried. What only a person can mend halts the run at
    /// once, unless the search is shielded, as it is before a release.
    ///
    /// - Parameter creations: how many failed creations the ledger counts; a failed search is none.
    func find(_ key: ResourceKey, isShielded: Bool, creations: Int = 0) async throws -> [R.Handle] {
        let retry = resource.limits.createRetry
        for failures in 1... {
            let error: any Error
            let timeout = resource.limits.callTimeout
            let ending = try await effect("find", until: timeout, isShielded: isShielded) { [resource] in
                try await resource.find(key)
            }
            switch ending {
            case .returned(let handles): return handles
            case .threw(let thrown): error = thrown
            case .timedOut, .abandoned: error = ResourceTimeout(call: "find", limit: resource.limits.callTimeout)
            }
            try execution.require(isShielded ? .release : .effect)
            if !isShielded {
                try Task.checkCancellation()
                let failure = Failure(.error, error, step: name)
                if let classified = error as? any RetryClassifying, classified.isBlocked {
                    _ = try recordFailure(key, "find", creations, failure, .none, attempt: failures)
                    throw execution.halt(.blocked(by: "resource '\(name)'", error))
                }
                guard failures < retry.attempts else { throw unavailable("find", error) }
                let due = try recordFailure(key, "find", creations, failure, retry, attempt: failures)
                try await execution.pause(until: due)
                continue
            }
            guard failures < retry.attempts else { throw unavailable("find", error) }
            let delay = retry.delay(afterFailures: failures, random: execution.core.configuration.random())
            try await execution.pause(until: execution.now.advanced(by: delay), isShielded: true)
        }
        throw unavailable("find", nil)
    }

    func liveness(of handle: R.Handle, _ key: ResourceKey) async throws -> Liveness {
        let ending = try await effect("liveness", until: resource.limits.callTimeout) { [resource] in
            try await resource.liveness(of: handle, key)
        }
        switch ending {
        case .returned(let liveness): return liveness
        case .threw(let error):
            try execution.require(.effect)
            execution.logger.info(
                "a resource could not be asked whether it lives",
                metadata: ["resource": "\(name)", "error": "\(error)"])
            return .unknown
        case .timedOut, .abandoned:
            try execution.require(.effect)
            return .unknown
        }
    }

    // MARK: - Leaving

    private func leave(_ incarnation: Incarnation, _ error: (any Error)?) async throws -> Next {
        try execution.require(.release)
        let scope = incarnation.scope
        if !scope.isLost, let lost = error as? ResourceLost, lost.name == nil || lost.name == name,
            !scope.needsNextGeneration, !incarnation.isEnded
        {
            // Thrown by the body itself; a step's was asked about already.
            _ = try await scope.confirmLoss(named: name)
        }
        if scope.isLost {
            if let objection = execution.phase.objection(to: .effect) { throw objection }
            return .nextGeneration
        }
        if !incarnation.isReleased {
            try await release(incarnation)
        }
        if scope.needsNextGeneration {
            if let objection = execution.phase.objection(to: .effect) { throw objection }
            return .nextGeneration
        }
        return .leave
    }

    // MARK: - Parts

    private func key(_ generation: Int) -> ResourceKey {
        ResourceKey(
            idempotencyKey: Names.idempotencyKey(
                run: execution.id, kind: "resource", scope: outer.path, name: "\(name)#\(generation)"),
            runID: execution.id, name: name, generation: generation, intendedAt: execution.now.date)
    }

    private func hold(_ key: ResourceKey, _ handle: R.Handle, isVerified: Bool) throws -> Incarnation {
        let text = try execution.encode(handle, what: "the handle of resource '\(name)'")
        try execution.enqueue(
            [
                .resourceHeld(
                    key: key.idempotencyKey, externalID: resource.externalID(of: handle), handle: text),
                .event(
                    NewEvent(
                        "resource.held", name: name,
                        payload: ["generation": "\(key.generation)", "id": resource.externalID(of: handle)])),
            ], at: .resource(name, "create", "done"))
        return incarnation(key, handle, state: .held, isVerified: isVerified)
    }

    private func incarnation(
        _ key: ResourceKey, _ handle: R.Handle, state: ResourceRecord.State, isVerified: Bool
    ) -> Incarnation {
        let scope = Scope(
            outer: outer, name: name, generation: key.generation, isEnded: state != .held, isVerified: isVerified,
            askLiveness: { [self] in try await liveness(of: handle, key) },
            recordLoss: { [self] in
                try execution.enqueue(
                    [
                        .resourceState(key: key.idempotencyKey, from: [.held], to: .lost),
                        .event(NewEvent("resource.lost", name: name, payload: ["generation": key.generation])),
                    ], at: .resource(name, "lost", "done"))
            })
        return Incarnation(
            key: key, handle: handle, scope: scope, isEnded: state != .held, isReleased: state == .released)
    }

    /// Calls the resource between two crash points.
    func effect<T: Sendable>(
        _ call: String, until timeout: Duration, isShielded: Bool = false,
        _ body: @escaping @Sendable () async throws -> T
    ) async throws -> Ending<T> {
        try await execution.effect(
            at: .resource(name, call, "effect"), until: execution.now.advanced(by: timeout), isShielded: isShielded,
            body)
    }

    func recordFailure(
        _ key: ResourceKey, _ call: String, _ failures: Int, _ failure: Failure, _ retry: RetryPolicy,
        attempt: Int? = nil
    ) throws -> Timestamp {
        let delay = retry.delay(afterFailures: attempt ?? failures, random: execution.core.configuration.random())
        let due = execution.now.advanced(by: delay)
        try execution.enqueue(
            [
                .resourceFailed(key: key.idempotencyKey, failures: failures, failure: failure, nextAttemptAt: due),
                .event(NewEvent("resource.retrying", name: name, attempt: attempt ?? failures, payload: failure)),
            ], at: .resource(name, call, "failed"))
        return due
    }

    func unavailable(_ verb: String, _ error: (any Error)?) -> WorkflowError {
        let reason = WorkflowError(
            .resourceUnavailable,
            "could not \(verb) resource '\(name)': resume the run when its provider answers again", cause: error)
        execution.stop(reason)
        return reason
    }
}

/// A call to a resource took too long.
struct ResourceTimeout: Error, CustomStringConvertible {
    let call: String
    let limit: Duration

    var description: String { "\(call) took longer than \(limit)" }
}

extension Result {
    fileprivate var failure: Failure? {
        guard case .failure(let error) = self else { return nil }
        return error
    }
}
