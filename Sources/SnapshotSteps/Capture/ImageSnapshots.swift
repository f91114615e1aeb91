import OCI
package import Workflow

/// The snapshots of images that somebody wants to boot: made by ordinary runs where the catalog does not have them.
package actor ImageSnapshots {
    private let environment: SnapshotEnvironment
    private let engine: Engine
    /// What this process is about, by image.
    private var active: [String: Task<Snapshot, any Error>] = [:]

    private static let label = "boots"
    /// How many images may be made at a time; one more is refused.
    private static let atOnce = 4

    package init(environment: SnapshotEnvironment, engine: Engine) {
        self.environment = environment
        self.engine = engine
    }

    /// The snapshot of an image for this machine's platform. Where two ask for the same image at once, one run serves both.
    ///
    /// The run goes on when the caller's task is cancelled: who asks again finds what came of it.
    /// - Parameter reference: an image in a registry; or by digest what was pushed from this catalog.
    package func snapshot(of reference: String) async throws -> Snapshot {
        try await translatingErrors {
            let image = try ImageReference(parsing: reference)
            guard case .registry = image.transport else {
                throw SnapshotError(.usage, "\(reference) is no image in a registry")
            }
            if let digest = image.digest, let known = try await pushed(digest.description) { return known }
            do {
                return try await making(image).value
            } catch let error as WorkflowError {
                throw Self.translating(error)
            }
        }
    }

    /// Why the run failed, in the words of the step that did.
    private static func translating(_ error: WorkflowError) -> any Error {
        switch error.code {
        case .runFailed(let failure):
            failure.decoded(as: SnapshotError.self) ?? SnapshotError(.failed, failure.message)
        case .interrupted, .engineClosed, .takenOver:
            SnapshotError(.unavailable, "the image is still being made; ask again", retryable: true)
        default: error
        }
    }

    private func making(_ image: ImageReference) throws(SnapshotError) -> Task<Snapshot, any Error> {
        if let task = active[image.description] { return task }
        guard active.count < Self.atOnce else {
            throw SnapshotError(
                .unavailable, "\(active.count) images are being made already; ask again", retryable: true)
        }
        let task = Task {
            defer { active[image.description] = nil }
            let result = try await run(image)
            guard let snapshot = try await environment.catalog.snapshot(forKey: result.key) else {
                throw SnapshotError(
                    .failed, "snapshot \(result.snapshotID) was removed meanwhile; ask again", retryable: true)
            }
            return snapshot
        }
        active[image.description] = task
        return task
    }

    private func pushed(_ digest: String) async throws -> Snapshot? {
        try await environment.catalog.snapshots().first { snapshot in
            snapshot.artifacts.contains { $0.reference.hasSuffix("@" + digest) }
        }
    }

    private func run(_ image: ImageReference) async throws -> SnapshotResult {
        let workflow = SnapshotWorkflow(environment: environment)
        let labels = [Self.label: image.description, "image": image.description]
        while true {
            let unfinished = try await engine.unfinishedRun(
                labels: [Self.label: image.description], owner: environment.owner)
            guard let run = unfinished else {
                let request = SnapshotRequest(image: image, platform: .host)
                return try await engine.start(workflow, input: request, labels: labels).result()
            }
            do {
                return try await engine.resume(run.id, as: workflow).result()
            } catch let error as WorkflowError {
                switch error.code {
                // Executed elsewhere, or just over.
                case .runHeld, .alreadyFinished: try await Task.sleep(for: .milliseconds(200))
                default: throw error
                }
            }
        }
    }
}
