import Connect
import SandboxAPI

extension DepotProvider {
    package func run(_ command: ShortCommand, in id: SandboxID) async throws -> CommandOutput {
        try validate(command.arguments, command.environment, hasInput: command.standardInput?.isEmpty == false)
        try await prepare(id)
        let request = commandRequest(
            command.arguments, environment: command.environment, workingDirectory: command.workingDirectory, in: id)
        do {
            return try await run(
                request, limit: command.outputLimit, deadline: command.deadline, in: id
            ) { _ in }
        } catch let error as SandboxError {
            guard (error.cause as? ConnectError)?.code == .deadlineExceeded, error.code == .unavailable else {
                throw error
            }
            throw SandboxError(
                .commandTimedOut,
                "\(request.cmd) in sandbox \(id) did not end within \(command.deadline) and was given up", cause: error)
        }
    }

    package func stream(
        _ command: StreamedCommand, in id: SandboxID, onProgress: (CommandProgress) async throws -> Void
    ) async throws -> Int32 {
        try validate(command.arguments, command.environment, hasInput: command.input != nil)
        try await prepare(id)
        let request = commandRequest(
            command.arguments, environment: command.environment, workingDirectory: command.workingDirectory, in: id)
        do {
            // As long as a sandbox can live: such a command has no deadline.
            return try await run(
                request, limit: nil, deadline: capabilities.maximumTimeToLive ?? .seconds(86_400),
                silenceLimit: command.silenceLimit, in: id, onProgress: onProgress
            ).exitCode
        } catch let failure as ListenerFailure {
            throw failure.error
        }
    }

    /// What a listener threw, which is not for the API to explain.
    private struct ListenerFailure: Error {
        let error: any Error
    }

    /// Leaving the stream early ends the connection, and a server ends the command with it.
    private func run(
        _ request: RunCommandRequest, limit: Int?, deadline: Duration, silenceLimit: Duration? = nil,
        in id: SandboxID, onProgress: (CommandProgress) async throws -> Void
    ) async throws -> CommandOutput {
        var hasBegun = false
        let output = try await inSandbox(
            id, "run \(request.cmd)", .command, mayRepeat: { !hasBegun }
        ) { [client] in
            try await client.serverStream(
                SandboxMethods.runCommand, request, deadline: deadline, idle: silenceLimit ?? deadline
            ) { stream in
                var events = CommandEvents(limit: limit)
                do {
                    while let event = try await stream.next() {
                        hasBegun = true
                        guard let progress = try events.take(event) else { continue }
                        do { try await onProgress(progress) } catch { throw ListenerFailure(error: error) }
                    }
                } catch let error as ConnectError {
                    // How the stream ends after Finished changes nothing.
                    guard events.exitCode != nil else { throw error }
                }
                return try events.finished()
            }
        }
        if output.exitCode > 128 { try await requireAlive(id) }
        if output.exitCode == 127 { try await requireProgram(request, deadline: deadline, in: id) }
        return output
    }

    /// A command that was killed may have been killed with its sandbox.
    private func requireAlive(_ id: SandboxID) async throws {
        guard let info = try await get(id) else { throw unknown(id) }
        if case .ended(let reason) = info.state { throw ended(id, reason) }
    }

    /// Not every version tells a program that is not there by an error; some run the command by one that then says 127.
    private func requireProgram(_ request: RunCommandRequest, deadline: Duration, in id: SandboxID) async throws {
        guard request.cmd != Self.shell else { return }
        var question = request
        question.cmd = Self.shell
        question.args = ["-c", "command -v \"$1\" > /dev/null", "sh", request.cmd]
        let answer = try await run(question, limit: 0, deadline: deadline, in: id) { _ in }
        guard answer.exitCode != 0 else { return }
        throw SandboxError(.missingTool, "there is no program \(request.cmd) in sandbox \(id)")
    }

    private static let shell = "/bin/sh"

    func commandRequest(
        _ arguments: [String], environment: [String: String], workingDirectory: String?, in id: SandboxID
    ) -> RunCommandRequest {
        var request = RunCommandRequest()
        request.sandbox = DepotMessages.sandbox(id)
        request.cmd = arguments.first ?? ""
        request.args = Array(arguments.dropFirst())
        request.env = environment
        request.cwd = workingDirectory ?? Self.workDirectory
        request.sudo = true
        return request
    }

    private func validate(
        _ arguments: [String], _ environment: [String: String], hasInput: Bool
    ) throws(SandboxError) {
        guard let program = arguments.first, !program.isEmpty else {
            throw SandboxError(.invalidArgument, "the command is empty")
        }
        guard !hasInput else {
            throw SandboxError(
                .unimplemented, "commands of \(name) have no standard input; write a file and let \(program) read it")
        }
        guard !arguments.contains(where: { $0.utf8.contains(0) }) else {
            throw SandboxError(.invalidArgument, "an argument of the command holds a zero byte")
        }
        guard environment.keys.allSatisfy({ !$0.isEmpty && !$0.contains("=") }) else {
            throw SandboxError(.invalidArgument, "an environment variable's name is empty or holds '='")
        }
    }

    /// Makes the work directory, once for a sandbox and process. Making it again changes nothing.
    func prepare(_ id: SandboxID) async throws {
        guard !isPrepared(id) else { return }
        var request = MkdirRequest()
        request.sandbox = DepotMessages.sandbox(id)
        request.path = Self.workDirectory
        request.recursive = true
        request.sudo = true
        try await inSandbox(id, "make \(Self.workDirectory)", .writing) { [client, configuration] in
            do {
                _ = try await client.unary(SandboxMethods.mkdir, request, deadline: configuration.answerPatience)
            } catch let error as ConnectError where error.code == .alreadyExists {
                return
            }
        }
        didPrepare(id)
    }
}
