import HelperInterface
import Sandbox

/// Moves the finished image out of the sandbox into the catalog.
struct RegisterStep {
    let environment: SnapshotEnvironment
    let sandbox: SandboxHandle
    let image: PulledImage
    let runID: String

    func run() async throws -> RegisteredSnapshot {
        try await translatingErrors {
            guard let file = environment.provider.hostPath(of: SandboxPaths.image, in: sandbox.id) else {
                throw SnapshotError(
                    .usage, "files of a \(environment.provider.name) sandbox cannot be moved into the catalog")
            }
            var result = try await readResult(in: sandbox, provider: environment.provider)
            // Inside, a layout has another path than on this host.
            result.image = image.reference
            guard result.key == image.key, result.sha256 == image.sha256, result.size == image.size else {
                throw SnapshotError(.snapshotDamaged, "the result document changed since the pull; run again")
            }
            let snapshot = try await environment.catalog.register(result, file: file, runID: runID)
            return RegisteredSnapshot(snapshot, warnings: result.warnings)
        }
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
