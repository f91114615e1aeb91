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

/// `snapshot pull`: the image out of its layers.
struct PullStep {
    let environment: SnapshotEnvironment
    let request: SnapshotRequest
    let resolution: Resolution
    let sandbox: SandboxHandle
    let step: StepContext

    func run() async throws -> PulledImage {
        try await translatingErrors {
            let command = HelperCommand(verb: "pull", environment: environment, sandbox: sandbox, step: step)
            try await command.run { key in try await arguments(key) }
            return try await pulledImage()
        }
    }

    private func arguments(_ key: String) async throws -> HelperCommand.Words {
        let inputs = try SandboxInputs(request)
        var arguments = PullArguments(
            reference: inputs.reference(for: resolution), output: SandboxPaths.image, platform: resolution.platform,
            size: request.size, plainHTTPHosts: request.plainHTTPHosts, caFile: inputs.caFile(for: request))
        arguments.verity = request.verity
        var words = HelperCommand.Words(argv: [])
        if let host = try ImageReference(parsing: request.image).registryHost {
            arguments.credentialsFile = try await words.addCredentials(
                forRegistry: host, of: request, key: key, environment: environment, sandbox: sandbox)
        }
        if let date = request.sourceDateEpoch { words.environment[SourceDateEpoch.variable] = "\(date)" }
        words.argv = arguments.argv
        return words
    }

    private func pulledImage() async throws -> PulledImage {
        let result = try await readResult(in: sandbox, provider: environment.provider)
        guard result.key == resolution.key, result.manifestDigest == resolution.manifestDigest else {
            throw SnapshotError(
                .helper, "the helper made another snapshot (\(result.key)) than it was asked for (\(resolution.key))")
        }
        return PulledImage(reference: resolution.image, key: result.key, sha256: result.sha256, size: result.size)
    }
}
