import Logging

extension DurableCommandRunner {
    /// Asks until the command is over, and emits its output.
    ///
    /// - Parameters:
    ///   - offset: the last one that was saved; 0 at first.
    ///   - deadline: after this an error of code `deadlineExceeded` is thrown and the command goes on.
    ///   - onOutput: called with each chunk and the offset to save after the chunk was dealt with: nothing is lost, and
    ///     after a crash at most one chunk is seen twice.
    package func wait(
        for key: String,
        from offset: UInt64,
        deadline: Duration,
        onOutput: (_ chunk: [UInt8], _ newOffset: UInt64) async throws -> Void
    ) async throws -> CommandOutcome {
        let end = pacing.now() + deadline
        var offset = offset
        var patience = Patience(pacing)
        while true {
            try Task.checkCancellation()
            let status = try await poll(key, from: offset)
            if !status.output.isEmpty { try await onOutput(status.output, status.nextOffset) }
            offset = status.nextOffset
            let hasMore = status.logSize > offset
            switch status.verdict {
            case .finished(let code):
                if !hasMore { return .finished(exitCode: code) }
            case .lost(let reason):
                if !hasMore { return .lost(reason: reason) }
            case .notStarted:
                return .lost(reason: "nobody has started it")
            case .claimed(let token):
                if !patience.isYoung(token) { return .lost(reason: "whoever claimed it died before starting it") }
            case .sandboxGone(let reason):
                return .sandboxGone(reason: reason)
            case .running, .unknown:
                break
            }
            let rest = end - pacing.now()
            guard rest > .zero else {
                throw SandboxError(
                    .deadlineExceeded, "\(key) in sandbox \(sandbox) is not over after \(deadline); it goes on"
                )
            }
            if case .unknown(let error) = status.verdict {
                try await patience.failed(error, atMost: rest)
            } else {
                patience.succeeded()
                if !hasMore { try await patience.rest(atMost: rest) }
            }
        }
    }

    /// Ends the command: TERM to its process group, a grace, KILL.
    ///
    /// What the command moved into another session goes on until the sandbox is killed.
    ///
    /// - Returns: what was found when it was over (`finished`, `lost`), or that there was nothing to end.
    /// - Throws: when it could not be ended: kill the sandbox then.
    package func cancel(_ key: String, grace: Duration = .seconds(10)) async throws -> CommandVerdict {
        try Self.validate(key: key)
        var patience = Patience(pacing)
        var verdict = try await settled(key, &patience)
        if case .claimed(let token) = verdict {
            // Whoever claimed it finds the claim gone and starts nothing.
            try await takeOver(key, seen: token, &patience)
            verdict = try await settled(key, &patience)
        }
        for (signal, time) in [("TERM", grace), ("KILL", .seconds(10))] {
            guard case .running = verdict else { break }
            try await send(signal, to: key)
            verdict = try await runsNoMore(key, within: time, &patience)
        }
        if case .running = verdict {
            throw SandboxError(.commandTimedOut, "\(key) in sandbox \(sandbox) survived KILL; kill the sandbox")
        }
        if case .sandboxGone = verdict { return verdict }
        _ = try await shell("rm -rf \"$1/secrets\"", key, [])
        return verdict
    }

    private func send(_ signal: String, to key: String) async throws {
        let output = try await shell(CommandScripts.signal, key, [signal])
        // Not there any more: the next question tells.
        guard output.exitCode != 0 && output.exitCode != CommandScripts.notMine else { return }
        logger.debug("signal not sent", metadata: ["key": "\(key)", "error": "\(output.reason)"])
    }

    private func runsNoMore(
        _ key: String, within time: Duration, _ patience: inout Patience
    ) async throws -> CommandVerdict {
        let end = pacing.now() + time
        var pauses = Patience(pacing)
        while true {
            let verdict = try await settled(key, &patience)
            guard case .running = verdict else { return verdict }
            let rest = end - pacing.now()
            guard rest > .zero else { return verdict }
            try await pauses.rest(atMost: min(rest, .seconds(1)))
        }
    }

    /// Asks until there is an answer, within the budget.
    private func settled(_ key: String, _ patience: inout Patience) async throws -> CommandVerdict {
        while true {
            let verdict = try await ask(key, offset: nil).verdict
            guard case .unknown(let error) = verdict else {
                patience.succeeded()
                return verdict
            }
            try await patience.failed(error)
        }
    }
}
