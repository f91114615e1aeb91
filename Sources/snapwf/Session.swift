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
    let engine: Engine
    let catalog: Catalog
    let provider: LocalProvider
    let environment: SnapshotEnvironment
    let logger: Logger

    /// Opens the state, making it at the first use, and sweeps what died or ran out since the last one.
    ///
    /// - Parameter onProgress: called with the helper's progress.
    static func open(
        _ options: GlobalOptions, onProgress: @escaping @Sendable (PullProgress) -> Void = { _ in }
    ) async throws -> Session {
        var logger = Logger(label: "snapwf", factory: { StreamLogHandler.standardError(label: $0) })
        logger.logLevel = options.verbose ? .debug : .error
        let variables = ProcessInfo.processInfo.environment
        let state = try StateDirectory(opening: try homeDirectory(variables))
        let owner = try state.owner()
        let points = CrashPoints(variables)
        let pass: @Sendable (String) -> Void = { points?.pass($0) }
        let catalog = try Catalog(state: state, probe: pass)
        let engine = try await Engine(
            store: .sqlite(path: state.workflowDatabase),
            configuration: EngineConfiguration(
                logger: logger, ownerDescription: "snapwf", probe: { pass($0.description) }))
        let executable = try executablePath()
        let provider = LocalProvider(
            configuration: .init(
                root: state.sandboxes, shimCommand: [executable, Snapwf.shimVerb],
                probe: pass))
        do {
            try await provider.sweep()
        } catch {
            logger.warning("ended sandboxes could not be swept: \(error)")
        }
        let helper = variables["SNAPWF_HELPER"] ?? sibling(of: executable, named: "snapshot")
        var environment = SnapshotEnvironment(
            state: state, owner: owner, catalog: catalog, provider: provider, helperPath: helper,
            variables: variables, logger: logger, onProgress: onProgress)
        environment.probe = pass
        return Session(
            state: state, engine: engine, catalog: catalog, provider: provider, environment: environment,
            logger: logger)
    }

    var workflow: SnapshotWorkflow { SnapshotWorkflow(environment: environment) }

    /// `$SNAPWF_HOME`, else `$XDG_STATE_HOME/snapwf`, else `~/.local/state/snapwf`.
    private static func homeDirectory(_ variables: [String: String]) throws -> String {
        if let home = variables["SNAPWF_HOME"], !home.isEmpty {
            return home.hasPrefix("/") ? home : FileManager.default.currentDirectoryPath + "/" + home
        }
        if let state = variables["XDG_STATE_HOME"], state.hasPrefix("/") { return state + "/snapwf" }
        if let home = variables["HOME"], home.hasPrefix("/") { return home + "/.local/state/snapwf" }
        throw SnapshotError(
            .stateDirectory,
            "there is no place for snapwf's state: HOME is not set. Name one: SNAPWF_HOME=/path snapwf …")
    }

    private static func executablePath() throws -> String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        guard count > 0 else {
            throw SnapshotError(.failed, "/proc/self/exe cannot be read: is /proc mounted?")
        }
        return String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    private static func sibling(of executable: String, named name: String) -> String {
        executable.split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 } + "/" + name
    }
}
