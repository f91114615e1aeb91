import Connect
import Files
import Foundation
import Glibc
import HelperInterface
import Logging
import OCI
import Sandbox
import SnapshotSteps
import TestSupport
import Workflow
import WorkflowTesting

/// What all schedules share: a peer, a registry with one image, and a helper that needs no time.
struct ScheduleStage: Sendable {
    let peer: Peer
    let request: SnapshotRequest
    let helper: String
    private let registry: RealRegistry
    private let directory: TemporaryDirectory

    init() async throws {
        directory = try TemporaryDirectory()
        registry = try await RealRegistry(.anonymous)
        try await Command.run("scripts/sample-image", [directory.path + "/image"])
        try await registry.push(layout: directory.path + "/image", tag: "latest", to: "schedules:1")
        peer = try Peer()
        var request = SnapshotRequest(
            image: try ImageReference(parsing: "\(registry.host)/schedules:1"), platform: .host)
        request.plainHTTPHosts = [registry.host]
        request.place = .api(url: peer.url, organization: nil)
        self.request = request
        helper = directory.path + "/snapshot"
        try await makeHelper()
    }

    func stop() {
        peer.stop()
        registry.stop()
    }

    /// A shell script in the helper's place: what it makes is no file system, and nobody here looks into it.
    private func makeHelper() async throws {
        var logger = Logger(label: "schedules")
        logger.logLevel = .critical
        var options = RegistryOptions()
        options.plainHTTPHosts = Set(request.plainHTTPHosts)
        let sources = ImageSources(
            options: options, credentials: .dockerConfig(environment: [:]), logger: logger)
        let reference = try ImageReference(parsing: request.image)
        let image = try await sources.source(for: reference).resolve(reference, platform: .host)
        await sources.shutdown()
        let key = SnapshotKey(
            manifestDigest: image.manifestDigest.description, platform: image.platform.description, size: nil)
        let content = "the file system of an image\n"
        let file = directory.path + "/content"
        try directory.write(content.utf8, to: "content")
        let result = PullResult(
            output: "/work/out/rootfs.ext4", sha256: try sha256(of: OpenFile(file, O_RDONLY)).hex,
            size: UInt64(content.utf8.count), uuid: uuidText(key.uuid), key: key.hex,
            image: image.reference.description, manifestDigest: image.manifestDigest.description,
            platform: image.platform.description, entries: 1, layerBytes: 1, warnings: [], config: "{}")
        let document = String(decoding: try JSONEncoder().encode(result), as: UTF8.self)
        try directory.write(
            """
            #!/bin/sh
            [ "$1" = pull ] || exit 0
            while [ $# -gt 0 ]; do [ "$1" = --output ] && out=$2; shift; done
            printf '%s\\n' '\(content.dropLast())' > "$out.partial"
            cat > "$out.json" <<'END'
            \(document)
            END
            mv "$out.partial" "$out"

            """.utf8, to: "snapshot")
        chmod(helper, 0o755)
    }
}

/// One installation with its own store, at an organisation of its own on the peer.
final class ScheduleWorld: Sendable {
    let organization: String
    private let stage: ScheduleStage
    private let store: TemporaryStore
    private let state: StateDirectory
    private let owner: String

    init(_ stage: ScheduleStage, organization: String) throws {
        self.stage = stage
        self.organization = organization
        store = try TemporaryStore(inMemory: true)
        state = try StateDirectory(opening: store.directory + "/state")
        owner = try state.owner()
    }

    func remove() throws { try store.remove() }

    /// A process's life: starts the run if there is none, goes on with it if it is not over, and dies where it is told.
    ///
    /// - Returns: the run's status, and the boundaries that were passed.
    func live(_ death: RequestBoundaries.Death) async throws -> (status: RunStatus?, boundaries: RequestBoundaries) {
        let boundaries = RequestBoundaries(death)
        let status = try await withEngine(boundaries) { engine, environment in
            let workflow = SnapshotWorkflow(environment: environment)
            do {
                if let run = try await engine.runs(RunQuery()).first {
                    if !run.recordedStatus.isFinished { _ = try await engine.resume(run.id, as: workflow).result() }
                } else {
                    let labels = [GarbageCollector.placeLabel: "\(stage.request.place ?? .local)"]
                    _ = try await engine.start(workflow, input: stage.request, labels: labels).result()
                }
            } catch is WorkflowError {
                // It failed, or its process died: the record tells.
            }
            return boundaries.isDead ? nil : try await engine.runs(RunQuery()).first?.recordedStatus
        }
        return (status, boundaries)
    }

    /// `snapwf gc --grace 0s`.
    func collectGarbage() async throws -> [GarbageOutcome] {
        try await withEngine(RequestBoundaries(.never)) { engine, environment in
            let collector = GarbageCollector(
                environment: environment, engine: engine, places: [.local, stage.request.place ?? .local],
                grace: .zero)
            return await collector.execute(try await collector.plan())
        }
    }

    private func withEngine<Value: Sendable>(
        _ boundaries: RequestBoundaries, _ body: (Engine, SnapshotEnvironment) async throws -> Value
    ) async throws -> Value {
        var logger = Logger(label: "schedule")
        logger.logLevel = .critical
        let engine = try await Engine(
            store: store.configuration,
            configuration: EngineConfiguration(
                logger: logger, clock: ManualClock(Date(), sleeps: .pass), cancellationGrace: .seconds(2)))
        boundaries.attach(engine)
        let provider = try DepotProvider(configuration(boundaries))
        let local = LocalProvider(configuration: .init(root: state.sandboxes, shimCommand: ["/bin/false"]))
        var environment = SnapshotEnvironment(
            state: state, owner: owner, catalog: try Catalog(state: state), provider: local,
            helperPath: stage.helper, variables: ["PATH": "/usr/bin:/bin"], logger: logger)
        environment.providers = { _ in provider }
        environment.pacing = CommandPacing(
            firstPause: .milliseconds(5), longestPause: .milliseconds(50), claimPatience: .milliseconds(400),
            unknownBudget: .seconds(20))
        let result: Result<Value, any Error>
        do {
            result = .success(try await body(engine, environment))
        } catch {
            result = .failure(error)
        }
        await engine.shutdown()
        await provider.shutdown()
        return try result.get()
    }

    private func configuration(_ boundaries: RequestBoundaries) -> DepotProvider.Configuration {
        var configuration = DepotProvider.Configuration(
            name: "peer", url: stage.peer.url, organization: organization)
        configuration.observer = boundaries.observer
        configuration.listingLag = .milliseconds(600)
        configuration.pollPause = .milliseconds(5)
        configuration.answerPatience = .seconds(10)
        configuration.startPatience = .seconds(20)
        configuration.killPatience = .seconds(20)
        configuration.retry.firstDelay = .milliseconds(2)
        configuration.retry.longestDelay = .milliseconds(20)
        return configuration
    }

    // MARK: - What the peer saw

    /// What is wrong with this installation's sandboxes, by the peer's own journal and look.
    ///
    /// - Parameter maybeTwins: the peer made two sandboxes of one call.
    func defects(maybeTwins: Bool) throws -> [String] {
        var defects: [String] = []
        let report = try stage.peer.control(organization: organization)
        let mine = report.sandboxes.filter { $0.env["SNAPWF_OWNER"] == owner }
        for sandbox in report.sandboxes where sandbox.env["SNAPWF_OWNER"] == nil {
            defects.append("sandbox \(sandbox.id) has no labels: \(sandbox.env)")
        }
        for sandbox in mine where !sandbox.isTerminal {
            defects.append("LEAKED: \(sandbox.id), generation \(sandbox.env["SNAPWF_GENERATION"] ?? "?")")
        }
        if !maybeTwins {
            let twins = Dictionary(grouping: mine, by: { $0.env["SNAPWF_GENERATION"] ?? "?" }).filter { $1.count > 1 }
            for (generation, sandboxes) in twins {
                defects.append("generation \(generation) has \(sandboxes.count) sandboxes")
            }
        }
        let strangers = report.sandboxes.filter { $0.env["SNAPWF_OWNER"] == Self.stranger }
        for sandbox in strangers where sandbox.isTerminal { defects.append("a stranger's sandbox was killed") }
        return defects
    }

    /// Somebody else's installation, which is nobody's business here.
    static let stranger = "00000000-0000-4000-8000-000000000000"

    func created() throws -> Int {
        try stage.peer.control(organization: organization).sandboxes.filter { $0.env["SNAPWF_OWNER"] == owner }.count
    }
}
