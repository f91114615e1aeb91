import Logging

extension DurableCommandRunner {
    /// Starts the command unless that was done already.
    ///
    /// A command that is lost is started again. Killed anywhere in between, another call completes the start or takes
    /// the dead claim over.
    ///
    /// - Throws: `SandboxError`; of code `ended` or `notFound` when the sandbox is gone.
    package func start(_ command: DurableCommand) async throws -> CommandStart {
        try validate(command)
        let token = randomName(24)
        var patience = Patience(pacing)
        while true {
            let verdict = try await ask(command.key, offset: nil).verdict
            logger.debug("durable command", metadata: ["key": "\(command.key)", "verdict": "\(verdict)"])
            switch verdict {
            case .running, .finished:
                return .attached
            case .sandboxGone(let reason):
                throw SandboxError(.ended, reason)
            case .unknown(let error):
                try await patience.failed(error)
            case .notStarted:
                if try await attempt({ try await claim(command.key, token) }, &patience) == true,
                    try await attempt({ try await launch(command, token) }, &patience) == true
                {
                    return .started
                }
            case .claimed(token):
                // An earlier try of this call claimed it and then heard nothing.
                if try await attempt({ try await launch(command, token) }, &patience) == true { return .started }
                try await takeOverLater(command.key, token, &patience)
            case .claimed(let other):
                try await takeOverLater(command.key, other, &patience)
            case .lost(let reason):
                logger.notice("starting again", metadata: ["key": "\(command.key)", "reason": "\(reason)"])
                try await takeOver(command.key, seen: nil, &patience)
            }
        }
    }

    private func claim(_ key: String, _ token: String) async throws -> Bool {
        let output = try await shell(CommandScripts.claim, key, [token])
        switch output.exitCode {
        case 0: return true
        case CommandScripts.notMine: return false
        case CommandScripts.missingTool:
            throw SandboxError(
                .missingTool,
                "the sandbox lacks what a command needs: \(output.reason); use an image with a POSIX shell, "
                    + "coreutils or busybox, and setsid (util-linux)"
            )
        default: throw failure("claim \(key)", output)
        }
    }

    /// - Returns: whether it runs; `false` when the claim is another's by now, or was launched before.
    private func launch(_ command: DurableCommand, _ token: String) async throws -> Bool {
        let home = "\(directory)/\(command.key)"
        let script = CommandScripts.run(command, secrets: home + "/secrets")
        try await provider.writeFile(
            home + "/run.sh", mode: 0o600, contents: .bytes(Array(script.utf8)), in: sandbox
        )
        for (name, bytes) in command.secrets.sorted(by: { $0.key < $1.key }) {
            try await provider.writeFile(
                secretPath(name, of: command.key), mode: 0o600, contents: .bytes(bytes), in: sandbox
            )
        }
        let output = try await shell(CommandScripts.launch, command.key, [token])
        switch output.exitCode {
        case 0: return true
        case CommandScripts.notMine: return false
        default: throw failure("start \(command.key)", output)
        }
    }

    /// Waits for the claim's process, and takes the claim over when none came.
    private func takeOverLater(_ key: String, _ token: String, _ patience: inout Patience) async throws {
        if try await patience.waitsForClaim(token) { return }
        logger.notice("taking over a dead claim", metadata: ["key": "\(key)"])
        try await takeOver(key, seen: token, &patience)
    }

    /// - Parameter seen: the token of a claim without a process; `nil`: the one of a lost command.
    func takeOver(_ key: String, seen: String?, _ patience: inout Patience) async throws {
        _ = try await attempt({ try await takeOver(key, seen: seen) }, &patience)
    }

    private func takeOver(_ key: String, seen: String?) async throws -> Bool {
        var token = seen
        if token == nil {
            let output = try await shell("cat \"$1/started/token\" 2> /dev/null || :", key, [])
            token = output.text.trimmed
        }
        let output = try await shell(
            CommandScripts.takeOver, key, [token ?? "", randomName(12), seen == nil ? "lost" : "claimed"]
        )
        switch output.exitCode {
        case 0: return true
        case CommandScripts.notMine: return false
        default: throw failure("take over \(key)", output)
        }
    }

    /// - Returns: `nil` after an error that may pass; it counts against the budget.
    private func attempt(
        _ call: () async throws -> Bool, _ patience: inout Patience
    ) async throws -> Bool? {
        do {
            let result = try await call()
            patience.succeeded()
            return result
        } catch {
            switch try verdict(of: error) {
            case .unknown(let error):
                try await patience.failed(error)
                return nil
            default:
                throw error
            }
        }
    }

    private func failure(_ what: String, _ output: CommandOutput) -> SandboxError {
        let text = output.errorText.trimmed
        let full = text.contains("No space left") || text.contains("Disk quota")
        return SandboxError(
            full ? .outOfSpace : .commandFailed,
            "cannot \(what) in sandbox \(sandbox) (exit code \(output.exitCode)): \(text)"
        )
    }

    private func validate(_ command: DurableCommand) throws(SandboxError) {
        try Self.validate(key: command.key)
        guard !command.arguments.isEmpty else {
            throw SandboxError(.invalidArgument, "the command \(command.key) has no program")
        }
        let texts = command.arguments + command.environment.values + [command.workingDirectory ?? ""]
        guard !texts.contains(where: { $0.utf8.contains(0) }) else {
            throw SandboxError(.invalidArgument, "the command \(command.key) holds a zero byte")
        }
        for name in command.environment.keys where !Self.isVariableName(name) {
            throw SandboxError(.invalidArgument, "\"\(name)\" cannot name an environment variable of a shell")
        }
        for name in command.secrets.keys where !Self.isSafeName(name) {
            throw SandboxError(.invalidArgument, "\"\(name)\" cannot name a secret's file")
        }
    }

    private static func isVariableName(_ name: String) -> Bool {
        guard let first = name.utf8.first, !(0x30...0x39).contains(first) else { return false }
        return name.utf8.allSatisfy { byte in
            (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                || byte == UInt8(ascii: "_")
        }
    }
}

/// How much longer one call puts up with silence, and with a claim that nobody fills.
struct Patience: Sendable {
    private let pacing: CommandPacing
    private var pause: Duration?
    private var silentSince: Duration?
    private var claim: (token: String, since: Duration)?

    init(_ pacing: CommandPacing) {
        self.pacing = pacing
    }

    mutating func succeeded() {
        silentSince = nil
    }

    /// Pauses after a question without an answer.
    ///
    /// - Throws: the error, when the budget is used up.
    mutating func failed(_ error: SandboxError, atMost limit: Duration = .seconds(3600)) async throws {
        let now = pacing.now()
        let since = silentSince ?? now
        silentSince = since
        guard now - since < pacing.unknownBudget else {
            throw SandboxError(error.code, "no answer for \(pacing.unknownBudget): \(error.message)", cause: error)
        }
        try await rest(atMost: limit)
    }

    /// The pause until the next question; they grow.
    mutating func rest(atMost limit: Duration) async throws {
        let next = pacing.pause(after: pause)
        pause = next
        try await pacing.sleep(max(.zero, min(next, limit)))
    }

    /// Notes a claim without a process.
    ///
    /// - Returns: whether it is still young.
    mutating func isYoung(_ token: String) -> Bool {
        let now = pacing.now()
        if claim?.token != token { claim = (token, now) }
        return now - (claim?.since ?? now) < pacing.claimPatience
    }

    /// Pauses while a claim is young.
    ///
    /// - Returns: `false`, at once, when it is not.
    mutating func waitsForClaim(_ token: String) async throws -> Bool {
        guard isYoung(token) else { return false }
        try await pacing.sleep(min(.milliseconds(250), pacing.claimPatience))
        return true
    }
}
