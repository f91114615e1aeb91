import Connect
import SandboxAPI

extension DepotProvider {
    /// How often in a row the API may not know a sandbox that it has just made.
    private static let mostAbsences = 5

    package func create(_ spec: SandboxSpec) async throws -> SandboxInfo {
        try refuseSnapshots(spec)
        let request = try DepotMessages.createRequest(spec, provider: name)
        let end = SteadyClock.now() + configuration.startPatience
        let made: SandboxMessage
        do {
            made = try await client.unary(
                SandboxMethods.createSandbox, request, deadline: configuration.startPatience
            ).sandbox
        } catch {
            throw cancelled(error) ?? translated(error, "create sandbox \(spec.name)")
        }
        guard !made.sandboxID.isEmpty else {
            throw SandboxError(
                .unavailable, "the API at \(address) made a sandbox and did not say which",
                isInDoubt: true
            )
        }
        let info = DepotMessages.info(made)
        if info.state == .running && info.carries(labels: spec.labels) { return info }
        let running = try await awaitRunning(info.id, until: end)
        guard running.carries(labels: spec.labels) else { throw await unlabelled(running.id) }
        return running
    }

    /// Waits until a sandbox runs.
    ///
    /// - Throws: `ended` when it never will; else an error in doubt, for the sandbox is there.
    func awaitRunning(_ id: SandboxID, until limit: Duration? = nil) async throws -> SandboxInfo {
        let end = limit ?? SteadyClock.now() + configuration.startPatience
        var pauses = PollPauses(first: configuration.pollPause)
        // What lists show late, a look at one may.
        let absentUntil = SteadyClock.now() + configuration.listingLag
        var absences = 0
        while true {
            var trouble = ""
            do {
                if let info = try await get(id) {
                    absences = 0
                    switch info.state {
                    case .running: return info
                    case .starting: break
                    case .ended(let reason): throw ended(id, reason)
                    }
                } else {
                    absences += 1
                    guard absences < Self.mostAbsences || SteadyClock.now() < absentUntil else {
                        throw ended(id, "it vanished before it ran")
                    }
                }
            } catch let error as SandboxError {
                guard error.isRetryable else {
                    throw SandboxError(
                        error.code, error.message, cause: error.cause, isInDoubt: error.code != .ended)
                }
                trouble = " (\(error.message))"
            }
            guard SteadyClock.now() < end else {
                throw SandboxError(
                    .unavailable,
                    "sandbox \(id) does not run after \(configuration.startPatience)\(trouble); try again",
                    isInDoubt: true
                )
            }
            try await pauses.pause()
        }
    }

    /// A sandbox without its labels could never be found again, so it is not kept.
    private func unlabelled(_ id: SandboxID) async -> SandboxError {
        var left = ""
        do { try await kill(id) } catch { left = "; it could not be killed (\(error)), so kill it: \(id)" }
        return SandboxError(
            .incompatible,
            "the API at \(address) does not keep the env of a sandbox, by which it is found after a "
                + "crash; this version of it cannot be used\(left)"
        )
    }
}
