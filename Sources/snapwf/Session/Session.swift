import Files
import FoundationEssentials
import Glibc
import HelperInterface
import Logging
import OCI
import Sandbox
import SnapshotSteps
import Workflow

/// What a verb works with: the state directory, the engine, the catalog, the provider.
struct Session {
    let state: StateDirectory
    /// Where the engine records runs.
    let runs: RunsPlace
    let engine: Engine
    let catalog: Catalog
    let provider: LocalProvider
    let machines: VMProvider
    let environment: SnapshotEnvironment
    let logger: Logger
    private let remote: RemoteProviders

    /// Opens the state, making it at the first use, and sweeps what died or ran out since the last one.
    ///
    /// - Parameter watch: told of what is asked of providers elsewhere.
    static func open(
        _ options: GlobalOptions, _ stored: StoreOptions, watch: ProviderWatch? = nil
    ) async throws -> Session {
        var logger = Logger(label: "snapwf", factory: { StreamLogHandler.standardError(label: $0) })
        logger.logLevel = options.verbose ? .debug : .error
        let variables = ProcessInfo.processInfo.environment
        let state = try StateDirectory(opening: try Places.stateDirectory(variables))
        let owner = try state.owner()
        let points = CrashPoints(variables)
        let pass: @Sendable (String) -> Void = { points?.pass($0) }
        let catalog = try Catalog(state: state, probe: pass)
        let runs = try stored.place(in: state)
        let engine = try await Engine(
            store: runs.configuration,
            configuration: EngineConfiguration(
                logger: logger, ownerDescription: Executor.description(owner: owner),
                probe: points?.look))
        if !runs.isOwn { try state.remember(KnownStore(id: engine.standing.id, name: runs.shown)) }
        let executable = try Places.executable()
        let provider = LocalProvider(
            configuration: .init(
                root: state.sandboxes, shimCommand: [executable, Places.shimVerb],
                probe: pass))
        let machines = VMProvider(
            configuration: Self.machines(state, variables, executable: executable, pass))
        var environment = SnapshotEnvironment(
            state: state, owner: owner, catalog: catalog, provider: provider,
            helperPath: Places.helper(variables, executable: executable), variables: variables, logger: logger)
        environment.probe = pass
        if runs.configuration.isShared {
            environment.shared = try SharedCatalog(store: runs.configuration, owner: owner)
            // Refused by the verbs that make snapshots; no other fails for it.
            environment.sharesTo = try? SharingPlace.setting()
        }
        let remote = RemoteProviders(variables: variables, points: points, watch: watch)
        environment.providers = { place in
            switch place {
            case .local: provider
            case .vm: machines
            case .api(let url, let organization): try remote.provider(url: url, organization: organization)
            }
        }
        let session = Session(
            state: state, runs: runs, engine: engine, catalog: catalog, provider: provider, machines: machines,
            environment: environment, logger: logger, remote: remote)
        await session.sweep()
        return session
    }

    /// Virtual machines: `SNAPWF_KERNEL`, `SNAPWF_QEMU` and `SNAPWF_AGENT` name what is not where it is looked for.
    private static func machines(
        _ state: StateDirectory, _ variables: [String: String], executable: String,
        _ probe: @escaping @Sendable (String) -> Void
    ) -> VMProvider.Configuration {
        var configuration = VMProvider.Configuration(
            root: state.machines, cache: state.machineCache, shimCommand: [executable, Places.machineShimVerb],
            agent: Places.agent(variables, executable: executable))
        configuration.kernel = nonEmpty(variables["SNAPWF_KERNEL"]).map(Places.absolutePath)
        configuration.qemu = nonEmpty(variables["SNAPWF_QEMU"]).map(Places.absolutePath)
        configuration.probe = probe
        return configuration
    }

    /// Removes what is left of sandboxes that died or ran out.
    func sweep() async {
        do {
            try await provider.sweep()
        } catch {
            logger.warning("ended sandboxes could not be swept: \(error)")
        }
        do {
            try await machines.sweep()
        } catch {
            logger.warning("ended machines could not be swept: \(error)")
        }
    }

    /// Other stores that may have runs of this installation, as people call them.
    func otherStores() async throws -> [String] {
        let standing = engine.standing
        var others = try state.knownStores().filter { !standing.includes($0.id) }.map(\.name)
        guard !runs.isOwn else { return others }
        do {
            let own = try await RecordedRuns.standing(of: .sqlite(path: state.workflowDatabase))
            if own.state != .moved, !standing.includes(own.id) { others.append(state.workflowDatabase) }
        } catch let error as WorkflowError {
            // What cannot be read may hold anything.
            if error.code != .noStore { others.append(state.workflowDatabase) }
        }
        return others
    }

    /// Says which place the command is about, and which token the command line gives for it.
    func name(_ place: SandboxPlace?, token: String?) {
        if let place { remote.name(place, token: token) }
    }

    /// Closes what is open. Nothing may be under way.
    func close() async {
        await engine.shutdown()
        await environment.shared?.close()
        await remote.shutdown()
    }

    /// Makes known what runs there are, so that any of them can be gone on with.
    func registerWorkflows() throws {
        try engine.register(workflow())
        try engine.register(BatchWorkflow())
    }

    /// The workflow of a run.
    ///
    /// - Parameter onProgress: called with the helper's progress.
    func workflow(_ onProgress: @escaping @Sendable (PullProgress) -> Void = { _ in }) -> SnapshotWorkflow {
        var environment = environment
        environment.onProgress = onProgress
        return SnapshotWorkflow(environment: environment)
    }
}
