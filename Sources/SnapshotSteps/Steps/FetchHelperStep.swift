import Files
import Glibc
import HelperInterface
import Sandbox
import Workflow

/// Brings the helper into the sandbox. A right one that is there already is left alone.
struct FetchHelperStep {
    let environment: SnapshotEnvironment
    let request: SnapshotRequest
    let sandbox: SandboxHandle
    let step: StepContext

    func run() async throws {
        try await translatingErrors {
            if let url = request.helperURL {
                try await fetch(HelperAddress(parsing: url))
            } else {
                try await upload()
            }
            try await checkThatItStarts()
        }
    }

    private func fetch(_ address: HelperAddress) async throws {
        // Renamed into place as the last act of an installation, so one that is there is whole.
        if try await environment.provider.run(["test", "-x", SandboxPaths.helper], in: sandbox.id).exitCode == 0 {
            return
        }
        try await HelperDownload(environment: environment, sandbox: sandbox, address: address, step: step).run()
        environment.probe("fetch-helper:write.after")
    }

    private func upload() async throws {
        let path = environment.helperPath
        let wanted: String
        do {
            wanted = try await onOwnThread { try sha256(of: OpenFile(path, O_RDONLY)).hex }
        } catch {
            throw SnapshotError(
                .helper, "the helper that belongs beside snapwf cannot be read: \(error). Install snapwf again.")
        }
        if try await checksumInSandbox() == wanted { return }
        try await environment.provider.writeFile(
            SandboxPaths.helper, mode: 0o755, contents: .hostFile(path), in: sandbox.id)
        environment.probe("fetch-helper:write.after")
        guard try await checksumInSandbox() == wanted else {
            throw SnapshotError(.helper, "the helper arrived damaged in the sandbox", retryable: true)
        }
    }

    private func checksumInSandbox() async throws -> String? {
        let output = try await environment.provider.run(["sha256sum", SandboxPaths.helper], in: sandbox.id)
        guard output.exitCode == 0 else { return nil }
        return output.text.split(separator: " ").first.map(String.init)
    }

    private func checkThatItStarts() async throws {
        let output = try await environment.provider.run([SandboxPaths.helper, "--version"], in: sandbox.id)
        guard output.exitCode == 0 else {
            let said = output.errorText.split(separator: "\n").last.map { ": \($0)" } ?? ""
            let advice =
                request.helperURL == nil
                ? "Build it with the Swift runtime linked in: make build"
                : "Take one that was built for the sandbox's system: the archives of make release run everywhere"
            throw SnapshotError(
                .helper, "the helper does not start in the sandbox (exit code \(output.exitCode))\(said). \(advice)")
        }
    }
}
