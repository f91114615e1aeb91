import Sandbox

/// Boots an image once in a virtual machine, to prove that it boots.
///
/// The machine carries the labels of the run, so what a crash leaves of it is found by the next attempt, else by garbage
/// collection, else ended by its time to live.
struct BootCheck {
    let environment: SnapshotEnvironment
    let runID: String

    /// Tells this machine from the sandbox that the run works in.
    static let label = "SNAPWF_BOOT_CHECK"
    private static let timeToLive = Duration.seconds(15 * 60)

    /// - Parameters:
    ///   - path: the image; it is only read.
    ///   - config: the image config.
    /// - Returns: how many milliseconds it took until the root was mounted and the agent answered.
    /// - Throws: `badImage` with the guest's last words when it does not boot; `usage` where no machine can be started.
    func run(_ path: String, config: String) async throws -> Int {
        let provider = try environment.at(.vm).provider
        try environment.state.remember(.vm)
        let labels = [
            SandboxLabel.owner: environment.owner, SandboxLabel.run: runID, Self.label: "1",
        ]
        for old in try await provider.find(labels: labels) { try await provider.kill(old.id) }
        try await check(provider)
        let spec = SandboxSpec(
            name: "snapwf-\(runID)-boot", labels: labels, timeToLive: Self.timeToLive,
            snapshot: try SnapshotRoot(image: path, config: config))
        let start = ContinuousClock.now
        let machine: SandboxInfo
        do {
            machine = try await provider.create(spec)
        } catch let error as SandboxError where [.ended, .deadlineExceeded, .corrupt].contains(error.code) {
            throw SnapshotError(.badImage, "the snapshot does not boot, so it is not kept: \(error.message)")
        }
        let took = ContinuousClock.now - start
        try await provider.kill(machine.id)
        return Int(took / .milliseconds(1))
    }

    private func check(_ provider: any SandboxProvider) async throws {
        do {
            try await provider.check()
        } catch let error as SandboxError {
            throw SnapshotError(.usage, "--verify-boot: \(error.message)")
        }
    }
}
