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
        try await check()
        let labels = [
            SandboxLabel.owner: environment.owner, SandboxLabel.run: runID, Self.label: "1",
        ]
        let spec = SandboxSpec(
            name: "snapwf-\(runID)-boot", labels: labels, timeToLive: Self.timeToLive,
            snapshot: try SnapshotRoot(image: path, config: config))
        var failures = 0
        while true {
            for old in try await provider.find(labels: labels) { try await provider.kill(old.id) }
            let start = ContinuousClock.now
            do {
                let machine = try await provider.create(spec)
                let took = ContinuousClock.now - start
                try await provider.kill(machine.id)
                return Int(took / .milliseconds(1))
            } catch let error as SandboxError where error.code == .didNotStart {
                failures += 1
                // The first time it may be this host's doing.
                guard failures >= 2 else { continue }
                throw SnapshotError(.badImage, "the snapshot does not boot: \(error.message)")
            }
        }
    }

    /// - Throws: `usage` where no machine can be started here at all.
    func check() async throws {
        do {
            try await environment.at(.vm).provider.check()
        } catch let error as SandboxError {
            switch error.code {
            case .missingTool, .notPermitted, .incompatible, .invalidArgument, .notFound:
                throw SnapshotError(.usage, "--verify-boot: \(error.message)")
            default: throw SnapshotError.translating(error)
            }
        }
    }
}
