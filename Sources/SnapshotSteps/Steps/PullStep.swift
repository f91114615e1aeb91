import FoundationEssentials
import HelperInterface
import Logging
import OCI
import Sandbox
import Workflow

/// What the pull left in the sandbox. The rest is in the result document beside the image.
struct PulledImage: Codable, Sendable {
    /// By digest, as this host names it.
    var reference: String
    var key: String
    var sha256: String
    var size: UInt64
}

/// Reads the result document that stands beside a finished image.
func readResult(in sandbox: SandboxHandle, provider: any SandboxProvider) async throws -> PullResult {
    // A config may have 8 MiB (OCI); quoted in JSON it grows.
    let bytes = try await provider.readFile(SandboxPaths.result, limit: 20 << 20, in: sandbox.id)
    do {
        return try JSONDecoder().decode(PullResult.self, from: Data(bytes))
    } catch {
        throw SnapshotError(.helper, "the helper's result document cannot be read: \(error)")
    }
}

/// `snapshot pull` as a durable command: started once, then asked about. Whoever asks may die and come back.
struct PullStep {
    let environment: SnapshotEnvironment
    let request: SnapshotRequest
    let resolution: Resolution
    let sandbox: SandboxHandle
    let step: StepContext

    /// How often a command whose process vanished is started again within one attempt.
    private static let maximumLosses = 3

    /// What the next attempt must know: which command to ask about, and up to where its output was seen.
    private struct Checkpoint: Codable {
        /// Raised when a command ended in failure, so that the next attempt starts another one.
        var command = 1
        var offset: UInt64 = 0
    }

    private var runner: DurableCommandRunner { environment.commands(in: sandbox) }

    func run() async throws -> PulledImage {
        try await translatingErrors { try await pull() }
    }

    private func pull() async throws -> PulledImage {
        var checkpoint = step.lastProgress(as: Checkpoint.self) ?? Checkpoint()
        var losses = 0
        while true {
            let command = try await durableCommand(number: checkpoint.command)
            let start = try await runner.start(command)
            environment.probe("pull:start.after")
            step.logger.debug("pull \(command.key): \(start)")
            var lines = EventLines()
            let outcome = try await runner.wait(
                for: command.key, from: checkpoint.offset, deadline: .seconds(24 * 3600)
            ) { chunk, newOffset in
                for event in lines.take(chunk) { show(event) }
                checkpoint.offset = newOffset
                try await step.report(checkpoint)
            }
            environment.probe("pull:wait.after")
            switch outcome {
            case .finished(exitCode: 0):
                return try await pulledImage()
            case .finished(let exitCode):
                let failure = try await failure(of: command.key, seenUpTo: checkpoint.offset, exitCode: exitCode)
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

    private func durableCommand(number: Int) async throws -> DurableCommand {
        let key = "pull-\(step.idempotencyKey)-\(number)"
        let inputs = try SandboxInputs(request)
        var secrets: [String: [UInt8]] = [:]
        var arguments = PullArguments(
            reference: inputs.reference(for: resolution), output: SandboxPaths.image, platform: resolution.platform,
            size: request.size, plainHTTPHosts: request.plainHTTPHosts, caFile: inputs.caFile(for: request))
        arguments.verity = request.verity
        if let host = try ImageReference(parsing: request.image).registryHost,
            let credentials = try await environment.credentialStore(for: request).credentials(forRegistry: host)
        {
            let name = "registry.json"
            secrets[name] = try credentials.dockerConfig(forRegistry: host)
            arguments.credentialsFile = runner.secretPath(name, of: key)
        }
        let script = """
            mkdir -p "${1%/*}" && shift && exec "$@"
            """
        return DurableCommand(
            key: key,
            arguments: ["/bin/sh", "-c", script, "sh", SandboxPaths.image, SandboxPaths.helper] + arguments.argv,
            environment: variables, secrets: secrets)
    }

    /// What the helper reads of its environment.
    private var variables: [String: String] {
        var variables = proxyVariables
        if let date = request.sourceDateEpoch { variables[SourceDateEpoch.variable] = "\(date)" }
        return variables
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
        case .failure, .result, .pushed: break
        }
    }

    private func pulledImage() async throws -> PulledImage {
        let result = try await readResult(in: sandbox, provider: environment.provider)
        guard result.key == resolution.key, result.manifestDigest == resolution.manifestDigest else {
            throw SnapshotError(
                .helper, "the helper made another snapshot (\(result.key)) than it was asked for (\(resolution.key))")
        }
        return PulledImage(reference: resolution.image, key: result.key, sha256: result.sha256, size: result.size)
    }

    /// What the helper said last before it gave up; without a word from it, what its exit code tells.
    private func failure(of key: String, seenUpTo offset: UInt64, exitCode: Int32) async throws -> SnapshotError {
        let size = try await runner.poll(key, from: offset).logSize
        let last = try await runner.poll(key, from: size > 65_536 ? size - 65_536 : 0)
        guard case .finished = last.verdict else {
            throw SnapshotError(
                .unavailable, "the helper failed, and its last words could not be read (\(last.verdict))",
                retryable: true)
        }
        let tail = last.output
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
