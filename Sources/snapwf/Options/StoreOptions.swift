import ArgumentParser
import FoundationEssentials
import SnapshotSteps
import Workflow

/// Where runs are recorded, on the command line and in the environment.
struct StoreOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            """
            Where runs are recorded: postgresql://USER@HOST/DATABASE, which machines may share, or the path of a SQLite \
            database. Default: SNAPWF_STORE, else workflow.db in the state directory. A password belongs in ~/.pgpass.
            """, valueName: "place"))
    var store: String?

    /// What no command line says.
    static func named(_ place: String?) -> StoreOptions {
        var options = StoreOptions()
        options.store = place
        return options
    }

    /// The environment is asked here, too: what is started again in the background comes by no flag.
    ///
    /// - Throws: code `usage` for what is no place of a store.
    func place(in state: StateDirectory) throws -> RunsPlace {
        let named = nonEmpty(store) ?? nonEmpty(ProcessInfo.processInfo.environment[RunsPlace.variable])
        return try RunsPlace(named, in: state)
    }
}

/// A place where runs are recorded.
struct RunsPlace: Sendable {
    static let variable = "SNAPWF_STORE"

    /// As the engine takes it. Never shown: it may hold a password.
    let text: String
    let configuration: StoreConfiguration
    /// Whether it is the database of the state directory.
    let isOwn: Bool

    init(_ named: String?, in state: StateDirectory) throws {
        text = try named.map(Self.checked) ?? state.workflowDatabase
        configuration = .named(text)
        isOwn = text == state.workflowDatabase
        do {
            try configuration.validate()
        } catch let error as WorkflowError where !error.message.contains("libpq.so") {
            throw SnapshotError(.usage, error.message)
        }
    }

    /// For people.
    var shown: String { StoreConfiguration.shown(text) }

    /// - Returns: a URL as it is, a path made absolute.
    private static func checked(_ text: String) throws -> String {
        if let objection = objection(to: text) { throw SnapshotError(.usage, "the store \(objection)") }
        return text.contains("://") ? text : Places.absolutePath(text)
    }

    /// What is wrong with a place, as the end of a sentence, and without repeating it; nil for nothing.
    static func objection(to text: String) -> String? {
        if text.isEmpty { return "must not be empty" }
        let isMeantAsURL = text.contains("://") || text.hasPrefix("postgres:") || text.hasPrefix("postgresql:")
        guard isMeantAsURL, !StoreConfiguration.named(text).isShared else { return nil }
        return "must be postgresql://USER@HOST/DATABASE or the path of a SQLite database"
    }
}
