import FoundationEssentials
import HelperInterface
import Logging
import OCI
import Sandbox
import Workflow

/// A verb of the helper as a durable command: started once, then asked about. Whoever asks may die and come back.
struct HelperCommand {
    /// The helper's verb; names the command in the sandbox and the points at which a test may die.
    let verb: String
    let environment: SnapshotEnvironment
    let sandbox: SandboxHandle
    let step: StepContext

    /// What one start of the command is given.
    struct Words {
        /// The arguments behind the program's name.
        var argv: [String]
        var environment: [String: String] = [:]
        /// Files that the command finds by ``DurableCommandRunner/secretPath(_:of:)``.
        var secrets: [String: [UInt8]] = [:]

        /// Adds what the request's credentials say of a registry, as a secret.
        ///
        /// - Returns: where the helper finds it; nil when nothing is known of the registry.
        mutating func addCredentials(
            forRegistry host: String, of request: SnapshotRequest, key: String, environment: SnapshotEnvironment,
            sandbox: SandboxHandle
        ) async throws -> String? {
            let store = environment.credentialStore(for: request)
            guard let credentials = try await store.credentials(forRegistry: host) else { return nil }
            let name = "registry.json"
            secrets[name] = try credentials.dockerConfig(forRegistry: host)
            return environment.commands(in: sandbox).secretPath(name, of: key)
        }
    }

    /// How often a command whose process vanished is started again within one attempt.
    private static let maximumLosses = 3

    /// What the next attempt must know: which command to ask about, and up to where its output was seen.
    private struct Checkpoint: Codable {
        /// Raised when a command ended in failure, so that the next attempt starts another one.
        var command = 1
        var offset: UInt64 = 0
    }

    private var runner: DurableCommandRunner { environment.commands(in: sandbox) }

    /// Waits until the command has ended well.
    ///
    /// - Parameter words: asked for once a start, with the key of the command.
    /// - Returns: that key.
    @discardableResult
    func run(_ words: (String) async throws -> Words) async throws -> String {
        var checkpoint = step.lastProgress(as: Checkpoint.self) ?? Checkpoint()
        var losses = 0
        while true {
            let command = try await durableCommand(number: checkpoint.command, words)
            let start = try await runner.start(command)
            environment.probe("\(verb):start.after")
            step.logger.debug("\(command.key): \(start)")
            var lines = EventLines()
            let outcome = try await runner.wait(
                for: command.key, from: checkpoint.offset, deadline: .seconds(24 * 3600)
            ) { chunk, newOffset in
                for event in lines.take(chunk) { show(event) }
                checkpoint.offset = newOffset
                try await step.report(checkpoint)
            }
            environment.probe("\(verb):wait.after")
            switch outcome {
            case .finished(exitCode: 0):
                return command.key
            case .finished(let exitCode):
                let failure = try await failure(of: command.key, exitCode: exitCode)
                try await step.report(Checkpoint(command: checkpoint.command + 1))
                throw failure
            case .lost(let reason):
                losses += 1
                step.logger.warning("the helper was lost (\(reason)); starting it again")
                guard losses < Self.maximumLosses else {
                    throw SnapshotError(
                        .helperDied, "the helper vanished \(losses) times (\(reason))", retryable: true)
                }
            case .sandboxGone(let reason):
                throw ResourceLost(reason: reason)
            }
        }
    }

    private func durableCommand(number: Int, _ words: (String) async throws -> Words) async throws -> DurableCommand {
        let key = "\(verb)-\(step.idempotencyKey)-\(number)"
        let words = try await words(key)
        let script = """
            mkdir -p "${1%/*}" && shift && exec "$@"
            """
        return DurableCommand(
            key: key,
            arguments: ["/bin/sh", "-c", script, "sh", SandboxPaths.image, SandboxPaths.helper] + words.argv,
            environment: proxyVariables.merging(words.environment) { $1 }, secrets: words.secrets)
    }

    /// This host's; what is elsewhere has another way out, and is not told a proxy's password.
    private var proxyVariables: [String: String] {
        guard environment.provider.capabilities.hostInputs else { return [:] }
        let names: Set<String> = ["http_proxy", "https_proxy", "no_proxy", "all_proxy"]
        return environment.variables.filter { names.contains($0.key.lowercased()) }
    }

    private func show(_ event: HelperEvent) {
        switch event {
        case .progress(let progress): environment.onProgress(progress)
        case .warning(let message): step.logger.warning("\(message)")
        default: break
        }
    }

    /// The last 64 KiB of what a command said that is over.
    func lastWords(of key: String) async throws -> [UInt8] {
        let size = try await runner.poll(key, from: 0).logSize
        let last = try await runner.poll(key, from: size > 65_536 ? size - 65_536 : 0)
        guard case .finished = last.verdict else {
            throw SnapshotError(
                .unavailable, "the helper's last words could not be read (\(last.verdict))", retryable: true)
        }
        return last.output
    }

    /// What the helper said last before it gave up; without a word from it, what its exit code tells.
    private func failure(of key: String, exitCode: Int32) async throws -> SnapshotError {
        let tail = try await lastWords(of: key)
        var lines = EventLines()
        for case .failure(let failure) in lines.take(tail) {
            return SnapshotError(failure, exitCode: exitCode)
        }
        if exitCode > 128 {
            return SnapshotError(
                .helperDied, "the helper was killed by signal \(exitCode - 128) in the sandbox", retryable: true)
        }
        let said = String(decoding: tail.suffix(500), as: UTF8.self).split(separator: "\n").last ?? "(nothing)"
        return SnapshotError(.helper, "the helper ended with exit code \(exitCode); it said: \(said)")
    }
}

/// Cuts the helper's output into lines, whatever the pieces it comes in, and reads the events among them.
struct EventLines {
    private var pending: [UInt8] = []
    private let decoder = JSONDecoder()
    /// A line longer than this is no event of ours.
    private static let longestLine = 12 << 20

    var pendingBytes: Int { pending.count }

    mutating func take(_ chunk: [UInt8]) -> [HelperEvent] {
        pending += chunk
        var events: [HelperEvent] = []
        var start = pending.startIndex
        while let end = pending[start...].firstIndex(of: UInt8(ascii: "\n")) {
            // Lines that are no events are what the helper's libraries say; they stay in the log.
            if let event = try? decoder.decode(HelperEvent.self, from: Data(pending[start..<end])) {
                events.append(event)
            }
            start = end + 1
        }
        pending.removeSubrange(..<start)
        if pending.count > Self.longestLine { pending.removeAll() }
        return events
    }
}
