import Artifacts
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

/// The push of a snapshot that the catalog has already, from this host.
struct CatalogPushStep {
    let environment: SnapshotEnvironment
    let request: SnapshotRequest
    let snapshot: RegisteredSnapshot
    /// Where to.
    let reference: String

    /// - Returns: the reference by digest.
    func run() async throws -> String {
        try await translatingErrors {
            let catalog = environment.catalog
            let use = try await catalog.use(catalog.find(snapshot.id), for: "push to \(reference)")
            defer { use.end() }
            let push = SnapshotPush(
                file: use.snapshot.path, image: try await catalog.result(of: use.snapshot),
                reference: try ImageReference(parsing: reference))
            let result = try await push.run { try environment.imageSources(for: request) }
            try await catalog.notePush(of: use.snapshot, to: result.reference)
            return result.reference
        }
    }
}

/// The boot for proof of a snapshot that the catalog has already and that was never booted.
struct CatalogBootStep {
    let environment: SnapshotEnvironment
    let snapshot: RegisteredSnapshot
    let runID: String

    /// - Returns: how many milliseconds it took.
    func run() async throws -> Int {
        try await translatingErrors {
            let catalog = environment.catalog
            let use = try await catalog.use(catalog.find(snapshot.id), for: "boot")
            defer { use.end() }
            if let known = use.snapshot.bootMilliseconds { return known }
            let took = try await BootCheck(environment: environment, runID: runID).run(
                use.snapshot.path, config: use.snapshot.config)
            try await catalog.noteBoot(of: use.snapshot, milliseconds: took)
            return took
        }
    }
}
