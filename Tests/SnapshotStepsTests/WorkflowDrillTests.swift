import Foundation
import HelperInterface
import Logging
import OCI
import Sandbox
import SnapshotSteps
import TestSupport
import Testing
import Workflow
import WorkflowTesting

/// The project's own workflow under the crash kit of its own engine: real sandboxes of this machine, the real helper.
@Suite("The snapshot workflow, dying anywhere")
struct WorkflowDrillTests {
    /// A state directory, with everything outside of the engine that a crash leaves as it is.
    private struct World: Sendable {
        let directory: TemporaryDirectory
        let state: StateDirectory
        let environment: SnapshotEnvironment

        init() throws {
            directory = try TemporaryDirectory()
            state = try StateDirectory(opening: directory.path + "/state")
            var logger = Logger(label: "drill")
            logger.logLevel = .critical
            let build = URL(
                fileURLWithPath: try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
            )
            .deletingLastPathComponent().path
            let provider = LocalProvider(
                configuration: .init(
                    root: state.sandboxes, shimCommand: [build + "/SandboxShimHost", "sandbox-shim"]))
            environment = SnapshotEnvironment(
                state: state, owner: try state.owner(), catalog: try Catalog(state: state), provider: provider,
                helperPath: Self.helper, variables: ["PATH": "/usr/bin:/bin"], logger: logger)
        }

        /// The release build, with the Swift runtime linked in: what starts in a sandbox.
        private static var helper: String {
            let programs = ProcessInfo.processInfo.environment["SNAPWF_BIN"] ?? ".build-release/release"
            return URL(fileURLWithPath: programs + "/snapshot").standardizedFileURL.path
        }

        /// What is wrong outside when the run is over.
        func defects() async throws -> [String] {
            var defects: [String] = []
            let alive = try await environment.provider.list().filter(\.state.isAlive).map(\.name)
            if !alive.isEmpty { defects.append("alive: \(alive)") }
            let snapshots = try await environment.catalog.snapshots()
            if snapshots.count != 1 { defects.append("\(snapshots.count) snapshots") }
            let stored = try FileManager.default.contentsOfDirectory(atPath: state.snapshots)
            if stored.count != 1 { defects.append("in the store: \(stored)") }
            return defects
        }
    }

    @Test("one crash anywhere: one snapshot with the same bytes, and no sandbox left")
    func singles() async throws {
        let layout = try TemporaryDirectory()
        try await Command.run("scripts/sample-image", [layout.path + "/image"])
        let request = SnapshotRequest(
            image: try ImageReference(parsing: "oci:\(layout.path)/image:latest"), platform: .host)
        var logger = Logger(label: "drill")
        logger.logLevel = .critical
        let drill = CrashDrill(
            input: request,
            configuration: EngineConfiguration(
                logger: logger, clock: ManualClock(Date(), sleeps: .pass), cancellationGrace: .seconds(2)),
            makeWorld: { Result { try World() } },
            makeWorkflow: { Drilled(world: $0.map(\.environment)) })
        let checksums = Checksums()
        let summary = try await drill.run(.singles) { scenario in
            let world = try scenario.world.get()
            var defects = try await world.defects()
            guard scenario.run.status == .succeeded, let output = scenario.run.output else {
                return defects + ["the run \(scenario.run.status): \(scenario.run.failure?.message ?? "")"]
            }
            let result = try JSONDecoder().decode(SnapshotResult.self, from: Data(output.utf8))
            if await !checksums.agree(on: result.sha256) { defects.append("other bytes: \(result.sha256)") }
            return defects
        }
        print("crash points of the snapshot workflow: \(summary.points), scenarios: \(summary.scenarios)")
        #expect(summary.defects == [])
        #expect(summary.points >= 50)
        #expect(summary.missed.count <= summary.points / 10, "\(summary.missed)")
    }

    /// The first checksum is the one that all others have to be.
    private actor Checksums {
        private var first: String?

        func agree(on checksum: String) -> Bool {
            if first == nil { first = checksum }
            return first == checksum
        }
    }

    /// The snapshot workflow on a world that could perhaps not be made.
    private struct Drilled: WorkflowDefinition {
        static let name = SnapshotWorkflow.name
        static let version = SnapshotWorkflow.version
        let world: Result<SnapshotEnvironment, any Error>

        func run(_ request: SnapshotRequest, in run: RunContext) async throws -> SnapshotResult {
            try await SnapshotWorkflow(environment: try world.get()).run(request, in: run)
        }
    }
}
