import ArgumentParser
import Files
import FoundationEssentials
import SnapshotSteps

struct ConfigCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Shows what is set outside the command line, and where each value comes from.",
        discussion: """
            A flag goes before the environment, that before ./snapwf.toml, that before ~/.config/snapwf/config.toml \
            (SNAPWF_CONFIG names another file), that before the default. Files are TOML, a setting a line:

              memory = "4GiB"
              jobs = 4
              plain-http = ["registry.lan:5000"]

            A relative path is meant from where the file lies. A directory's file may set only what can do no harm; \
            tokens stand in no file.
            """,
        subcommands: [ShowConfig.self], defaultSubcommand: ShowConfig.self)
}

struct ShowConfig: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Shows each setting, its value and where that comes from.")

    @Argument(
        help: "Only these settings.", completion: .list(Setting.all.map(\.name)))
    var settings: [String] = []

    @OptionGroup var options: GlobalOptions

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .plain)
        try await reporter.reportingErrors {
            for name in settings where Setting.named(name) == nil {
                let near = nearest(name, among: Setting.all.map(\.name)).map { "; did you mean \($0)?" } ?? ""
                throw SnapshotError(.usage, "there is no setting \"\(name)\"\(near)")
            }
            let current = try Settings(
                variables: ProcessInfo.processInfo.environment, directory: FileManager.default.currentDirectoryPath)
            let shown = Setting.all.filter { settings.isEmpty || settings.contains($0.name) }
            let document = ConfigDocument(shown, current)
            if options.json {
                try deliver(JSONText.document(document))
            } else if options.quiet {
                for item in document.settings { try deliver((item.value?.joined(separator: ",") ?? "") + "\n") }
            } else {
                try deliver(
                    table(
                        [["SETTING", "VALUE", "FROM"]]
                            + document.settings.map {
                                [$0.name, $0.value?.joined(separator: ",") ?? "-", $0.source]
                            }, width: Terminal.standardOutput.columns))
                for file in current.files {
                    reporter.note("\(file.path)\(file.isThere ? "" : " is not there")", always: false)
                }
            }
        }
    }
}

/// `snapwf config show --json`
struct ConfigDocument: Encodable {
    struct Item: Encodable {
        let name: String
        /// Nil where it is not set; several texts for a list.
        let value: [String]?
        let source: String
        let variable: String
        let flag: String?
    }
    struct File: Encodable {
        let path: String
        let exists: Bool
    }
    let schema = 1
    let settings: [Item]
    let files: [File]

    init(_ settings: [Setting], _ current: Settings) {
        self.settings = settings.map { setting in
            let value = current.values[setting.name]
            return Item(
                name: setting.name, value: value?.texts.map(setting.kind.shown),
                source: (value?.source ?? .standard).words,
                variable: setting.variable, flag: setting.flag)
        }
        files = current.files.map { File(path: $0.path, exists: $0.isThere) }
    }
}
