import HelperInterface
package import Workflow

/// Image → snapshot: resolve, create a sandbox, fetch the helper into it, pull, register, kill the sandbox.
///
/// Each step is a checkpoint; a run that was killed anywhere goes on with `resume` in the same sandbox, for the same
/// digest. create and kill are the two ends of one resource scope.
package struct SnapshotWorkflow: WorkflowDefinition {
    package static let name = "snapshot"
    package static let version = 1

    let environment: SnapshotEnvironment

    package init(environment: SnapshotEnvironment) {
        self.environment = environment
    }

    package func run(_ request: SnapshotRequest, in run: RunContext) async throws -> SnapshotResult {
        let environment = try environment.at(request.place ?? .local)
        let asked = request
        // The step's input is the request as it was recorded: what this machine adds may differ from the last one's.
        let request = environment.completed(asked)
        let resolution = try await run.step("resolve", input: asked, retry: Self.resolving, timeout: .seconds(300)) {
            _ in
            try await ResolveStep(environment: environment, request: request).run()
        }
        let registered: RegisteredSnapshot
        var isCached = true
        if let cached = resolution.cached {
            let snapshot = try await here(cached, request, in: run, environment)
            registered = try await completing(snapshot, resolution, request, in: run, environment)
        } else if let fetched = try await fetched(request, resolution, in: run, environment) {
            let snapshot = try await here(fetched, request, in: run, environment)
            registered = try await completing(snapshot, resolution, request, in: run, environment)
        } else {
            isCached = false
            try environment.state.remember(request.place ?? .local)
            let made = try await havingTheTurn(request, resolution, run, environment) {
                let resource = SandboxResource(environment: environment, request: request, resolution: resolution)
                return try await run.withResource(resource, named: "sandbox") { scope, sandbox in
                    try await keepingAlive(sandbox, for: request, environment: environment) {
                        try await convert(request, resolution, in: sandbox, scope: scope, environment: environment)
                    }
                }
            }
            registered = try await here(made, request, in: run, environment)
        }
        let naming = NameStep.Input(name: request.name, labels: request.labels ?? [:])
        if naming.name != nil || !naming.labels.isEmpty {
            try await run.step("name", input: naming) { _ in
                try await NameStep(environment: environment, snapshot: registered, input: naming).run()
            }
        }
        if let exportPath = request.exportPath {
            try await run.step("export", input: exportPath) { _ in
                try await ExportStep(environment: environment, snapshot: registered, path: exportPath).run()
            }
        }
        return SnapshotResult(registered, exportedTo: request.exportPath, cached: isCached)
    }

    /// What a snapshot that is there already still lacks of what was asked for.
    private func completing(
        _ snapshot: RegisteredSnapshot, _ resolution: Resolution, _ request: SnapshotRequest, in run: RunContext,
        _ environment: SnapshotEnvironment
    ) async throws -> RegisteredSnapshot {
        var snapshot = snapshot
        if request.verifyBoot == true {
            snapshot.bootMilliseconds = try await run.step("verify-boot", timeout: .seconds(1800)) { [snapshot] _ in
                try await CatalogBootStep(
                    environment: environment, snapshot: snapshot, runID: run.id.description
                ).run()
            }
        }
        // What others can fetch already is not pushed again for them.
        let reference = request.push ?? (isForOthers(resolution) ? request.pushReference(forKey: snapshot.key) : nil)
        if let reference {
            snapshot.pushedTo = try await pushing(to: reference, request, in: run) { [snapshot] in
                try await run.step("push", retry: Self.pulling(request), timeout: .seconds(24 * 3600)) { _ in
                    try await CatalogPushStep(
                        environment: environment, request: request, snapshot: snapshot, reference: reference
                    ).run()
                }
            }
        }
        if let shared = environment.shared, reference != nil || resolution.isShared == false {
            try await run.step("share", retry: Self.asking(request), timeout: .seconds(3600)) { [snapshot] _ in
                try await ShareStep(
                    environment: environment, shared: shared, key: snapshot.key, place: snapshot.pushedTo
                ).run()
            }
        }
        return snapshot
    }

    private func isForOthers(_ resolution: Resolution) -> Bool { resolution.isShared == false }

    /// The steps that belong to one sandbox: taken again when it is lost.
    private func convert(
        _ request: SnapshotRequest, _ resolution: Resolution, in sandbox: SandboxHandle, scope: RunContext,
        environment: SnapshotEnvironment
    ) async throws -> RegisteredSnapshot {
        for note in sandbox.notes { try await scope.emit(SandboxLabel.noteEvent, note) }
        try await scope.step("fetch-helper", retry: Self.asking(request), timeout: .seconds(1200)) { step in
            try await FetchHelperStep(
                environment: environment, request: request, sandbox: sandbox, step: step
            ).run()
        }
        let image = try await scope.step("pull", retry: Self.pulling(request), timeout: .seconds(24 * 3600)) { step in
            try await PullStep(
                environment: environment, request: request, resolution: resolution, sandbox: sandbox, step: step
            ).run()
        }
        var pushedTo: String?
        if let reference = request.pushReference(forKey: resolution.key), isPushed(request, environment) {
            pushedTo = try await pushing(to: reference, request, in: scope) {
                try await scope.step("push", retry: Self.pulling(request), timeout: .seconds(24 * 3600)) { step in
                    try await PushStep(
                        environment: environment, request: request, reference: reference, sandbox: sandbox, step: step
                    ).run()
                }
            }
        }
        return try await scope.step("register", retry: Self.asking(request), timeout: .seconds(2 * 3600)) {
            [pushedTo] _ in
            try await RegisterStep(
                environment: environment, request: request, sandbox: sandbox, image: image, pushedTo: pushedTo,
                runID: scope.id.description
            ).run()
        }
    }

    /// The registry client has retries of its own below this.
    private static let resolving = RetryPolicy.exponential(attempts: 2, base: .seconds(1), cap: .seconds(5))
    /// For what asks somebody and is over in seconds. An API elsewhere may be replaced meanwhile: ten minutes of attempts.
    private static func asking(_ request: SnapshotRequest) -> RetryPolicy {
        request.place == nil
            ? .exponential(attempts: 4, base: .milliseconds(500), cap: .seconds(15))
            : .exponential(attempts: 25, base: .milliseconds(500), cap: .seconds(30))
    }

    /// For the pull: the helper has retries of its own below these.
    private static func pulling(_ request: SnapshotRequest) -> RetryPolicy {
        .exponential(attempts: request.place == nil ? 4 : 12, base: .seconds(1), cap: .seconds(60))
    }
}

extension SnapshotResult {
    fileprivate init(_ snapshot: RegisteredSnapshot, exportedTo: String?, cached: Bool) {
        self.init(
            snapshotID: snapshot.id, key: snapshot.key, path: snapshot.path, exportedTo: exportedTo,
            sha256: snapshot.sha256, size: snapshot.size, uuid: snapshot.uuid, image: snapshot.image,
            manifestDigest: snapshot.manifestDigest, platform: snapshot.platform, entries: snapshot.entries,
            pushedTo: snapshot.pushedTo, bootMilliseconds: snapshot.bootMilliseconds, cached: cached,
            warnings: snapshot.warnings)
    }
}
