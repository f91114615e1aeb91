import Connect
import SandboxAPI

/// Calls for files, in short.
extension ServedSandboxes {
    func stat(_ path: String, in sandbox: SandboxRef, follow: Bool = false) async throws -> StatResponse {
        try await call(SandboxMethods.stat) {
            $0.sandbox = sandbox
            $0.path = path
            $0.followSymlinks = follow
        }
    }

    func mkdir(
        _ path: String, in sandbox: SandboxRef, _ fill: (inout MkdirRequest) -> Void = { _ in }
    ) async throws {
        _ = try await call(SandboxMethods.mkdir) {
            $0.sandbox = sandbox
            $0.path = path
            fill(&$0)
        }
    }

    func remove(
        _ path: String, in sandbox: SandboxRef, _ fill: (inout RemoveRequest) -> Void = { _ in }
    ) async throws {
        _ = try await call(SandboxMethods.remove) {
            $0.sandbox = sandbox
            $0.path = path
            fill(&$0)
        }
    }

    func rename(_ from: String, _ to: String, in sandbox: SandboxRef) async throws {
        _ = try await call(SandboxMethods.rename) {
            $0.sandbox = sandbox
            $0.fromPath = from
            $0.toPath = to
        }
    }
}
