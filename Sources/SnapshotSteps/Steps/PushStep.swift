import HelperInterface
import OCI
import Sandbox
import Workflow

/// `snapshot push`: the finished image to a registry, from inside the sandbox.
struct PushStep {
    let environment: SnapshotEnvironment
    let request: SnapshotRequest
    /// Where to.
    let reference: String
    let sandbox: SandboxHandle
    let step: StepContext

    /// - Returns: the reference by digest.
    func run() async throws -> String {
        try await translatingErrors {
            let command = HelperCommand(verb: "push", environment: environment, sandbox: sandbox, step: step)
            let key = try await command.run { key in try await arguments(key) }
            var lines = EventLines()
            for case .pushed(let result) in lines.take(try await command.lastWords(of: key)) { return result.reference }
            throw SnapshotError(.helper, "the helper did not say what it pushed", retryable: true)
        }
    }

    private func arguments(_ key: String) async throws -> HelperCommand.Words {
        var arguments = PushArguments(
            file: SandboxPaths.image, reference: reference, plainHTTPHosts: request.plainHTTPHosts,
            caFile: try SandboxInputs(request).caFile(for: request))
        var words = HelperCommand.Words(argv: [])
        if let host = try ImageReference(parsing: reference).registryHost {
            arguments.credentialsFile = try await words.addCredentials(
                forRegistry: host, of: request, key: key, environment: environment, sandbox: sandbox)
        }
        words.argv = arguments.argv
        return words
    }
}
