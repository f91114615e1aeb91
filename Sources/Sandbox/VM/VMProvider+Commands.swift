import Files
import Glibc
package import GuestProtocol

extension VMProvider {
    package func run(_ command: ShortCommand, in id: SandboxID) async throws -> CommandOutput {
        try await onOwnThread(cancellable: { cancel in
            try command.validate()
            var request = request(command.arguments, command.environment, command.workingDirectory)
            request.hasInput = command.standardInput?.isEmpty == false
            let outcome = try converse(
                .run(request), in: id, input: try CommandInput(.bytes(command.standardInput ?? [])),
                feeds: request.hasInput, watch: cancel, sink: .gather(limit: command.outputLimit),
                deadline: command.deadline)
            let code = try exitCode(outcome, command, id)
            return CommandOutput(exitCode: code, standardOutput: outcome.output, standardError: outcome.errors)
        })
    }

    package func stream(
        _ command: StreamedCommand, in id: SandboxID, onProgress: (CommandProgress) async throws -> Void
    ) async throws -> Int32 {
        var request = request(command.arguments, command.environment, command.workingDirectory)
        request.hasInput = command.input != nil
        return try await stream(request, input: command.input, in: id, onProgress: onProgress)
    }

    /// Streams a command as any provider does, with what only a machine of its own can have: another user, a terminal that
    /// changes its size, signals.
    package func stream(
        _ request: CommandRequest, input: CommandFeed?, control: GuestControl? = nil, in id: SandboxID,
        onProgress: (CommandProgress) async throws -> Void
    ) async throws -> Int32 {
        defer { input?.close() }
        let exchange = try CommandExchange()
        input?.open { exchange.ring() }
        control?.open { exchange.ring() }
        return try await withTaskCancellationHandler {
            async let exitCode = onOwnThread {
                defer { exchange.end() }
                let command = ShortCommand(request.arguments, workingDirectory: request.workingDirectory)
                try command.validate()
                let outcome = try converse(
                    .run(request), in: id, input: CommandInput(input), feeds: request.hasInput, watch: exchange,
                    sink: .pass(exchange), control: control, deadline: nil)
                return try self.exitCode(outcome, command, id)
            }
            do {
                while let progress = await exchange.next() { try await onProgress(progress) }
            } catch {
                exchange.cancel()
                while await exchange.next() != nil {}
                throw error
            }
            return try await exitCode
        } onCancel: {
            exchange.cancel()
        }
    }

    /// Ends a guest in order: everything in it is told to end, and its disk is put in order. Then kill the sandbox.
    ///
    /// - Parameter patience: how long that may take.
    package func powerOff(_ id: SandboxID, patience: Duration) async throws {
        try await onOwnThread(cancellable: { cancel in
            _ = try converse(
                .powerOff, in: id, input: CommandInput(nil), feeds: false, watch: cancel, sink: .gather(limit: 0),
                deadline: patience)
        })
    }

    private func request(
        _ arguments: [String], _ environment: [String: String], _ directory: String?
    ) -> CommandRequest {
        CommandRequest(
            arguments, environment: environment.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" },
            workingDirectory: directory)
    }

    /// Begins something in a guest and sees it through.
    func converse(
        _ begin: HostMessage, in id: SandboxID, input: consuming CommandInput, feeds: Bool, watch: any CommandWatch,
        sink: CommandSink, control: GuestControl? = nil, deadline: Duration?
    ) throws -> GuestConversation.Outcome {
        let directory = try sandboxes.directory(of: id)
        let sight = try sandboxes.requireAlive(id, directory)
        guard case .running = sight.info.state else {
            throw SandboxError(.unavailable, "sandbox \(id) is still starting; try again")
        }
        let client: GuestClient
        do throws(SandboxError) {
            client = try GuestClient(directory)
        } catch {
            try requireRunning(id, directory)
            throw error
        }
        let outcome = try GuestConversation(
            client, begin, input: input, feeds: feeds, watch: watch, sink: sink, control: control
        ).finish(deadline: deadline)
        if case .trouble(.gone) = outcome.end {
            try requireRunning(id, directory)
            throw SandboxError(.unavailable, "the connection to the guest of sandbox \(id) broke; try again")
        }
        if case .trouble(.cancelled) = outcome.end { throw CancellationError() }
        return outcome
    }

    /// A shim closes its connections a moment before it says why the sandbox is over.
    private func requireRunning(_ id: SandboxID, _ directory: SandboxDirectory) throws(SandboxError) {
        let end = SteadyClock.now() + .seconds(5)
        repeat {
            try sandboxes.requireAlive(id, directory)
            pauseThread(.milliseconds(20))
        } while SteadyClock.now() < end
    }

    private func exitCode(
        _ outcome: GuestConversation.Outcome, _ command: ShortCommand, _ id: SandboxID
    ) throws(SandboxError) -> Int32 {
        let program = command.arguments[0]
        switch outcome.end {
        case .exited(let end): return end.exitCode
        case .done, .trouble(.gone), .trouble(.cancelled): throw SandboxError(.unavailable, "\(program) did not end")
        case .trouble(.timedOut):
            throw SandboxError(
                .commandTimedOut, "\(program) in sandbox \(id) did not end within \(command.deadline) and was killed")
        case .trouble(.tooMuchOutput):
            throw SandboxError(
                .outputTooLarge, "\(program) in sandbox \(id) wrote more than \(command.outputLimit) bytes")
        case .trouble(.failed(let failure)):
            throw SandboxError(
                Self.code(failure, file: false), "cannot run \(program) in sandbox \(id): \(failure.message)")
        }
    }

    /// - Parameter file: whether it was about a file and not a command.
    static func code(_ failure: GuestFailure, file: Bool) -> SandboxError.Code {
        switch failure.code {
        case .notFound: file ? .notFound : .missingTool
        case .notExecutable: .missingTool
        case .workingDirectory, .user: .invalidArgument
        case .tooLarge: file ? .outputTooLarge : .invalidArgument
        case .outOfSpace: .outOfSpace
        case .busy, .notConfigured: .unavailable
        case .version, .badMessage, .alreadyConfigured: .incompatible
        case .root, .setup, .cancelled, .system: .commandFailed
        }
    }
}
