import Foundation
import Logging

extension ResourceScope {
    /// Ends the generation: a durable step of its own, shielded from the run's cancellation and retried until it is
    /// done. Used up, it leaves the entry for garbage collection.
    func release(_ incarnation: Incarnation) async throws {
        if !incarnation.isEnded {
            try await intendRelease(incarnation.key, from: [.held])
        }
        guard try await release(incarnation.handle, incarnation.key) else { return }
        try recordRelease(incarnation.key, from: [.releasing])
    }

    /// Finds and releases everything under the key, when no handle is known.
    ///
    /// If it cannot be found out what there is, the run stops and stays resumable.
    func releaseWhatever(_ key: ResourceKey, from states: [ResourceRecord.State]) async throws {
        let found = try await find(key, isShielded: true)
        for handle in found {
            guard try await release(handle, key) else { throw unavailable("release", nil) }
        }
        try recordRelease(key, from: states)
    }

    /// Releases one, trying again as its limits allow.
    ///
    /// - Returns: `false` when all attempts failed.
    func release(_ handle: R.Handle, _ key: ResourceKey) async throws -> Bool {
        let retry = resource.limits.releaseRetry
        for failures in 1... {
            let error: any Error
            let timeout = resource.limits.releaseTimeout
            let ending = try await effect("release", until: timeout, isShielded: true) { [resource] in
                try await resource.release(handle, key)
            }
            switch ending {
            case .returned: return true
            case .threw(let thrown): error = thrown
            case .timedOut, .abandoned:
                error = ResourceTimeout(call: "release", limit: timeout)
            }
            try execution.require(.release)
            guard failures < retry.attempts else {
                try giveUpRelease(handle, error)
                return false
            }
            let due = try recordFailure(key, "release", failures, Failure(.error, error, step: name), retry)
            try await execution.pause(until: due, isShielded: true)
        }
        return false
    }

    private func intendRelease(_ key: ResourceKey, from states: [ResourceRecord.State]) async throws {
        try await execution.commit(
            [
                .resourceState(key: key.idempotencyKey, from: states, to: .releasing),
                .event(NewEvent("resource.releasing", name: name, payload: ["generation": key.generation])),
            ], at: .resource(name, "release", "intent"))
    }

    private func recordRelease(_ key: ResourceKey, from states: [ResourceRecord.State]) throws {
        try execution.enqueue(
            [
                .resourceState(key: key.idempotencyKey, from: states, to: .released),
                .event(NewEvent("resource.released", name: name, payload: ["generation": key.generation])),
            ], at: .resource(name, "release", "done"))
    }

    private func giveUpRelease(_ handle: R.Handle, _ error: any Error) throws {
        execution.logger.warning(
            "a resource could not be released; garbage collection will try again",
            metadata: ["resource": "\(name)", "id": "\(resource.externalID(of: handle))", "error": "\(error)"])
        try execution.enqueue(
            [.event(NewEvent("resource.release_failed", name: name, payload: Failure(.error, error, step: name)))],
            at: .resource(name, "release", "given_up"))
    }
}
