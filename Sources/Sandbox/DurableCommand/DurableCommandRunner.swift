package import Logging

/// Starts durable commands in one sandbox and asks about them.
///
/// A value without state of its own: everything it knows is in the sandbox, so any process may go on where
/// another died.
package struct DurableCommandRunner: Sendable {
    let provider: any SandboxProvider
    package let sandbox: SandboxID
    /// Where the commands' files are, inside.
    package let directory: String
    let pacing: CommandPacing
    let logger: Logger

    /// - Parameters:
    ///   - directory: absolute, inside the sandbox, writable there.
    ///   - pacing: `nil` chooses by the provider's capabilities.
    package init(
        provider: any SandboxProvider,
        sandbox: SandboxID,
        directory: String = "/work/.commands",
        pacing: CommandPacing? = nil,
        logger: Logger
    ) {
        self.provider = provider
        self.sandbox = sandbox
        self.directory = directory
        self.pacing = pacing ?? (provider.capabilities.cheapCommands ? .local : .remote)
        self.logger = logger
    }

    /// Where the command finds a secret; for arguments such as `--password-file`.
    package func secretPath(_ name: String, of key: String) -> String {
        "\(directory)/\(key)/secrets/\(name)"
    }

    /// One question.
    ///
    /// - Parameter offset: where in the log to read from.
    /// - Throws: only what asking again cannot mend, such as a sandbox image without a shell.
    package func poll(_ key: String, from offset: UInt64) async throws -> CommandStatus {
        try Self.validate(key: key)
        return try await ask(key, offset: offset)
    }

    /// - Parameter offset: `nil` for the verdict alone.
    func ask(_ key: String, offset: UInt64?) async throws -> CommandStatus {
        let from = offset ?? 0
        // The shell's numbers are signed.
        guard from <= UInt64(Int64.max) else {
            throw SandboxError(.invalidArgument, "the log offset \(from) is out of range")
        }
        let output: CommandOutput
        do {
            output = try await shell(CommandScripts.ask, key, [offset.map { String($0) } ?? "-"])
        } catch {
            return CommandStatus(verdict: try verdict(of: error), nextOffset: from, logSize: from)
        }
        guard output.exitCode == 0, let answer = CommandAnswer(output.standardOutput) else {
            if output.exitCode == 127 {
                throw SandboxError(
                    .missingTool, "the sandbox \(sandbox) cannot run shell commands: \(output.reason)"
                )
            }
            let error = SandboxError(
                .unavailable,
                "the answer about \(key) from sandbox \(sandbox) is cut (exit code \(output.exitCode)): "
                    + output.errorText.trimmed
            )
            return CommandStatus(verdict: .unknown(error), nextOffset: from, logSize: from)
        }
        let chunk = offset.map { answer.output(from: $0) } ?? []
        return CommandStatus(
            verdict: answer.verdict, output: chunk, nextOffset: from + UInt64(chunk.count), logSize: answer.logSize
        )
    }

    /// What an error of a short command says about the durable one.
    ///
    /// - Throws: the error, when asking again would not help.
    func verdict(of error: any Error) throws -> CommandVerdict {
        guard let error = error as? SandboxError else {
            if error is CancellationError { throw error }
            return .unknown(
                SandboxError(.unavailable, "sandbox \(sandbox) did not answer: \(error)", cause: error)
            )
        }
        switch error.code {
        case .notFound, .ended: return .sandboxGone(reason: error.message)
        // A record that is damaged does not heal.
        case .missingTool, .notPermitted, .credentials, .invalidArgument, .unimplemented, .corrupt: throw error
        // The address was right when the run began: a page of maintenance, a proxy's, passes.
        default: return .unknown(error)
        }
    }

    /// Runs one of the scripts; $1 is the command's directory.
    func shell(_ script: String, _ key: String, _ arguments: [String]) async throws -> CommandOutput {
        try await provider.run(.shell(script, ["\(directory)/\(key)"] + arguments), in: sandbox)
    }

    static func validate(key: String) throws(SandboxError) {
        guard isSafeName(key) else {
            throw SandboxError(
                .invalidArgument, "\"\(key)\" cannot name a command: letters, digits, '.', '_' and '-', at most 100"
            )
        }
    }

    static func isSafeName(_ name: String) -> Bool {
        !name.isEmpty && name.utf8.count <= 100 && !name.hasPrefix(".") && !name.hasPrefix("-")
            && name.utf8.allSatisfy { byte in
                (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte)
                    || [UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-")].contains(byte)
            }
    }
}
