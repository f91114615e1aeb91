import Connect
import Foundation
import Sandbox
import SandboxAPI
import SwiftProtobuf

extension SandboxService {
    /// Started, what the command says, Finished. When the client goes, a command that is not detached is killed.
    ///
    /// A program that does not exist is `not_found` with a detail whose `syscall` is `execve`.
    func runCommand(
        _ request: RunCommandRequest, send: (CommandEvent) async throws -> Void
    ) async throws {
        let id = try request.sandbox.checked()
        let arguments = [request.cmd] + request.args
        try check(request)
        let info = try await require(id)
        guard case .running = info.state else { throw notRunning(info) }
        let environment = info.labels.merging(request.env) { $1 }
        let directory = request.hasCwd ? request.cwd : nil
        if request.detached {
            var command = ShortCommand.shell(Self.detachScript, arguments)
            command.environment = environment
            command.workingDirectory = directory
            try await detach(command, program: request.cmd, in: id)
            try await send(Self.started())
            return
        }
        let command = StreamedCommand(arguments, environment: environment, workingDirectory: directory)
        try await streams.run {
            do {
                var offsets = (output: Int64(0), errors: Int64(0))
                let exitCode = try await provider.stream(command, in: id) { progress in
                    for event in Self.events(progress, &offsets) { try await send(event) }
                }
                try await send(Self.finished(exitCode))
            } catch let error as SandboxError where error.code == .missingTool {
                throw Self.missing(request.cmd, error.message)
            }
        }
    }

    // MARK: Detached

    /// $1 … the command, started in a session of its own: it outlives the shell, the call and the server.
    private static let detachScript = """
        command -v "$1" > /dev/null 2>&1 || exit 44
        setsid /bin/sh -c 'exec "$@"' sh "$@" < /dev/null > /dev/null 2>&1 &
        """

    private func detach(_ command: ShortCommand, program: String, in id: SandboxID) async throws {
        let output = try await fileCalls.run { try await provider.run(command, in: id) }
        if output.exitCode == 44 { throw Self.missing(program, "there is no program \(program) in sandbox \(id)") }
        guard output.exitCode == 0 else {
            throw ConnectError(.failedPrecondition, "cannot detach \(program): \(output.errorText.suffix(1000))")
        }
    }

    private static func missing(_ program: String, _ message: String) -> ConnectError {
        var detail = FileSystemErrorDetail()
        detail.syscall = "execve"
        detail.path = program
        detail.message = FileFailure.missing.rawValue
        return ConnectError(.notFound, message, details: ConnectError.Detail(detail).map { [$0] } ?? [])
    }

    // MARK: Events

    private static func started() -> CommandEvent {
        CommandEvent.with {
            $0.started.cmdID = "cmd-" + UUID().uuidString.lowercased()
            $0.started.startedAt = Google_Protobuf_Timestamp(.now())
        }
    }

    private static func finished(_ exitCode: Int32) -> CommandEvent {
        CommandEvent.with {
            $0.finished.exitCode = exitCode
            $0.finished.finishedAt = Google_Protobuf_Timestamp(.now())
        }
    }

    private static func events(
        _ progress: CommandProgress, _ offsets: inout (output: Int64, errors: Int64)
    ) -> [CommandEvent] {
        var events: [CommandEvent] = []
        switch progress {
        case .started: events.append(started())
        case .output(let bytes):
            for piece in messages(bytes) {
                offsets.output += Int64(piece.count)
                let said = output(piece, at: offsets.output)
                events.append(CommandEvent.with { $0.stdout = said })
            }
        case .errors(let bytes):
            for piece in messages(bytes) {
                offsets.errors += Int64(piece.count)
                let said = output(piece, at: offsets.errors)
                events.append(CommandEvent.with { $0.stderr = said })
            }
        }
        return events
    }

    private static func output(_ bytes: Data, at end: Int64) -> CommandEvent.Output {
        CommandEvent.Output.with {
            $0.data = bytes
            $0.byteOffset = end
            $0.timestamp = Google_Protobuf_Timestamp(.now())
        }
    }

    private func check(_ request: RunCommandRequest) throws(ConnectError) {
        guard !request.cmd.isEmpty else { throw .invalid("cmd", "is missing") }
        try RequestChecks.environment(request.env)
        for (field, text) in [("cmd", request.cmd)] + request.args.map({ ("args", $0) }) {
            guard !text.utf8.contains(0) else { throw .invalid(field, "holds a zero byte") }
            guard text.utf8.count <= RequestChecks.longestString else {
                throw .invalid(field, "is longer than \(RequestChecks.longestString) bytes, the most Linux passes on")
            }
        }
        if request.hasCwd { _ = try RequestChecks.path(request.cwd, "cwd") }
    }
}
