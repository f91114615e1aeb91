import Files
import HelperInterface
import Sandbox

/// Makes the finished image a snapshot: of the catalog, or of the API that the sandbox came from.
struct RegisterStep {
    let environment: SnapshotEnvironment
    let request: SnapshotRequest
    let sandbox: SandboxHandle
    let image: PulledImage
    /// By digest, where the sandbox has pushed it.
    let pushedTo: String?
    let runID: String

    func run() async throws -> RegisteredSnapshot {
        try await translatingErrors {
            var result = try await readResult(in: sandbox, provider: environment.provider)
            // Inside, a layout has another path than on this host.
            result.image = image.reference
            guard result.key == image.key, result.sha256 == image.sha256, result.size == image.size else {
                throw SnapshotError(.snapshotDamaged, "the result document changed since the pull; run again")
            }
            switch request.register ?? .catalog {
            case .catalog:
                let registered = try await inCatalog(result)
                if let shared = environment.shared {
                    try await ShareStep(
                        environment: environment, shared: shared, key: result.key, place: pushedTo
                    ).run()
                }
                return registered
            case .api: return try await atAPI(result)
            case .registry:
                guard let pushedTo else { throw SnapshotError(.usage, "--register registry needs --push REFERENCE") }
                if let shared = environment.shared {
                    let snapshot = Snapshot(result, origin: .run(runID), at: millisecondsNow())
                    try await shared.record(snapshot, place: pushedTo, isHere: false)
                }
                var registered = RegisteredSnapshot(result, keptAs: pushedTo)
                registered.pushedTo = pushedTo
                return registered
            }
        }
    }

    private func inCatalog(_ result: PullResult) async throws -> RegisteredSnapshot {
        let file: String
        if !environment.provider.capabilities.hostFiles, let existing = try await environment.catalog.registered(result)
        {
            try await environment.catalog.discardIncoming(runID: runID)
            return try await noted(existing, result, bootMilliseconds: nil)
        }
        if let path = environment.provider.hostPath(of: SandboxPaths.image, in: sandbox.id) {
            file = path
        } else {
            file = environment.catalog.downloadPath(runID: runID)
            // An earlier attempt may have brought all of it and died on the way into the catalog.
            if !fileExists(environment.catalog.incomingImage(runID: runID)) {
                try await ImageDownload(
                    provider: environment.provider, sandbox: sandbox.id, size: result.size, destination: file
                ).run()
                environment.probe("register:download.after")
            }
        }
        let bootMilliseconds = try await verifyBoot(file, result)
        let snapshot = try await environment.catalog.register(
            result, file: file, runID: runID, capturedFrom: request.capturedFrom)
        try await environment.catalog.discardIncoming(runID: runID)
        return try await noted(snapshot, result, bootMilliseconds: bootMilliseconds)
    }

    /// Boots the image where it lies now: where the sandbox left it, or where an earlier attempt has brought it.
    private func verifyBoot(_ file: String, _ result: PullResult) async throws -> Int? {
        guard request.verifyBoot == true else { return nil }
        let taken = environment.catalog.incomingImage(runID: runID)
        guard let path = [file, taken].first(where: { fileExists($0) }) else { return nil }
        return try await BootCheck(environment: environment, runID: runID).run(path, config: result.config)
    }

    private func noted(
        _ snapshot: Snapshot, _ result: PullResult, bootMilliseconds: Int?
    ) async throws -> RegisteredSnapshot {
        var bootMilliseconds = bootMilliseconds
        if request.verifyBoot == true, bootMilliseconds == nil {
            // It was there already, or an earlier attempt has died before it could note the time.
            bootMilliseconds = try await CatalogBootStep(
                environment: environment, snapshot: RegisteredSnapshot(snapshot, warnings: []), runID: runID
            ).run()
        }
        if let pushedTo { try await environment.catalog.notePush(of: snapshot, to: pushedTo) }
        if let bootMilliseconds {
            try await environment.catalog.noteBoot(of: snapshot, milliseconds: bootMilliseconds)
        }
        var registered = RegisteredSnapshot(snapshot, warnings: result.warnings)
        registered.pushedTo = pushedTo
        registered.bootMilliseconds = bootMilliseconds
        return registered
    }

    private func atAPI(_ result: PullResult) async throws -> RegisteredSnapshot {
        guard let provider = environment.provider as? any CapturingProvider else {
            throw SnapshotError(.usage, "\(environment.provider.name) sandboxes cannot be captured")
        }
        // Captures take up to 35 minutes.
        let captured = try await provider.snapshot(
            of: sandbox.id, name: "snapwf-" + result.key.prefix(16), patience: .seconds(40 * 60))
        return RegisteredSnapshot(result, keptAs: captured.id)
    }
}

/// Gives the snapshot the name and the labels that the request asks for.
struct NameStep {
    /// What the step's checkpoint is of.
    struct Input: Codable {
        var name: String?
        var labels: [String: String]
    }

    let environment: SnapshotEnvironment
    let snapshot: RegisteredSnapshot
    let input: Input

    func run() async throws {
        guard let snapshot = try await environment.catalog.snapshot(forKey: snapshot.key) else {
            throw SnapshotError(.failed, "snapshot \(snapshot.id) was removed before it was named; run again")
        }
        if !input.labels.isEmpty { try await environment.catalog.label(snapshot, input.labels) }
        if let name = input.name { try await environment.catalog.tag(snapshot, as: name) }
    }
}

/// Puts a copy where the user asked for it.
struct ExportStep {
    let environment: SnapshotEnvironment
    let snapshot: RegisteredSnapshot
    let path: String

    func run() async throws {
        guard let snapshot = try await environment.catalog.snapshot(forKey: snapshot.key) else {
            throw SnapshotError(
                .failed, "snapshot \(snapshot.id) was removed before it could be exported; run again")
        }
        try await environment.catalog.export(snapshot, to: path)
    }
}
