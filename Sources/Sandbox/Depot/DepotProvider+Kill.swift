import Connect
import SandboxAPI

extension DepotProvider {
    package func kill(_ id: SandboxID) async throws {
        guard Self.isValid(id) else { return }
        let end = SteadyClock.now() + configuration.killPatience
        var pauses = PollPauses(first: configuration.pollPause)
        var isAccepted = false
        while true {
            if !isAccepted {
                switch try await askToKill(id) {
                case .over: return
                case .accepted: isAccepted = true
                // Over already, or not to be killed in this state: the look tells.
                case .refused: break
                }
            }
            guard let info = try await get(id), info.state.isAlive else { return }
            guard SteadyClock.now() < end else {
                throw SandboxError(
                    .unavailable,
                    "sandbox \(id) still lives \(configuration.killPatience) after it was told to end; try again"
                )
            }
            try await pauses.pause()
        }
    }

    private enum KillAnswer {
        case over
        case accepted
        case refused
    }

    private func askToKill(_ id: SandboxID) async throws -> KillAnswer {
        var request = KillSandboxRequest()
        request.sandbox = DepotMessages.sandbox(id)
        do {
            let answer = try await client.unary(
                SandboxMethods.killSandbox, request, deadline: configuration.answerPatience)
            return answer.hasSandbox && !DepotMessages.state(answer.sandbox).isAlive ? .over : .accepted
        } catch {
            if error.code == .notFound && !error.isNotConnect { return .over }
            if error.code == .failedPrecondition { return .refused }
            throw cancelled(error) ?? translated(error, "kill sandbox \(id)")
        }
    }

    /// Works on a running sandbox only. Rounded up to minutes.
    package func setTimeToLive(_ timeToLive: Duration, of id: SandboxID) async throws {
        var request = SetSandboxTimeoutRequest()
        request.sandbox = DepotMessages.sandbox(id)
        request.timeoutMinutes = try DepotMessages.minutes(timeToLive)
        _ = try await inSandbox(id, "set the time to live", .sandbox) { [client, configuration] in
            try await client.unary(
                SandboxMethods.setSandboxTimeout, request, deadline: configuration.answerPatience)
        }
    }
}
