import HelperInterface
import Workflow

/// Something that can be set once instead of with each command: in a file, or in an environment variable.
struct Setting: Sendable {
    /// What a value has to look like.
    enum Kind: Sendable {
        case text, bytes, span, path
        /// Of runs; it may hold a password.
        case store
        case number(ClosedRange<Int>)
        case word([String])
        case list
    }

    /// As in the files: `builder-image`.
    let name: String
    let kind: Kind
    /// The environment variable that says the same.
    let variable: String
    /// The flag that says the same; nil for what only the environment says.
    let flag: String?
    /// The verbs that have the flag; as typed, with the verb below them.
    let verbs: [String]
    /// Whether the file of a directory may say it, which may be anybody's.
    var isForProjects = false
    /// Of settings with one group only one is in force: the one that was said nearest.
    var group: String?
    let help: String

    private static func flagged(
        _ name: String, _ kind: Kind, _ verbs: [String], project: Bool = false, group: String? = nil, _ help: String
    ) -> Setting {
        let words = name.uppercased().replacing("-", with: "_")
        return Setting(
            name: name, kind: kind, variable: "SNAPWF_" + words, flag: "--" + name, verbs: verbs,
            isForProjects: project, group: group, help: help)
    }

    private static func plain(_ name: String, _ kind: Kind, _ variable: String, _ help: String) -> Setting {
        Setting(name: name, kind: kind, variable: variable, flag: nil, verbs: [], help: help)
    }

    private static let places = ["run", "submit", "worker", "gc", "doctor"]
    /// That ask for snapshots.
    private static let asking = ["run", "submit"]
    /// That open the store of runs.
    private static let storing = [
        "run", "submit", "worker", "resume", "gc", "ls", "list", "show", "logs", "cancel", "rm", "decide", "boot",
        "serve", "doctor",
        "store status", "store copy", "store reopen",
    ]
    private static let registries = [
        "run", "doctor", "snapshots push", "snapshots pull", "snapshot push", "snapshot pull",
    ]

    /// All of them, in the order in which they are shown.
    ///
    /// What a project's file may not say could send a token or credentials elsewhere, start a program, or write to another
    /// place: who unpacks somebody's directory and works in it has not agreed to that.
    static let all: [Setting] = [
        flagged("sandbox", .word(["local", "vm", "depot"]), places, group: "place", "Whose sandboxes."),
        flagged("api", .text, places, group: "place", "The Sandbox API that sandboxes come from."),
        flagged("vcpus", .number(1...1024), asking, project: true, "Virtual processors of the sandbox."),
        flagged("memory", .bytes, asking, project: true, "Memory of the sandbox."),
        flagged("disk", .bytes, asking, project: true, "Disk of the sandbox."),
        flagged("ttl", .span, asking, project: true, "How long a sandbox lives on when nobody looks after it."),
        flagged("timeout", .span, asking, project: true, "How long a run may take."),
        flagged("platform", .text, asking, project: true, "The platform to choose from an index."),
        flagged("size", .bytes, asking, project: true, "The size of the file system."),
        flagged("builder-image", .text, asking, "What the sandbox boots from."),
        flagged("snapshot-binary-url", .text, asking, "Where the sandbox fetches the helper from."),
        flagged("register", .word(["catalog", "registry", "api"]), asking, "Who keeps the snapshot."),
        flagged("creds-file", .path, registries, "Credentials of registries."),
        flagged("ca-file", .path, registries, "Certificates to trust of registries."),
        flagged("plain-http", .list, registries + ["submit"], "Registry hosts that are spoken to without TLS."),
        flagged("jobs", .number(1...64), ["run", "resume"], project: true, "How many images are worked on at once."),
        flagged(
            "on-interrupt", .word(["keep", "kill"]), ["run", "resume"], project: true,
            "What becomes of the sandbox of an interrupted run."),
        flagged(
            "progress", .word(["auto", "tty", "plain", "json", "none"]), ["run", "submit", "resume"], project: true,
            "How progress is told."),
        flagged("color", .word(["auto", "always", "never"]), ["*"], project: true, "Colours."),
        flagged("grace", .span, ["gc"], "How long an interrupted run keeps its sandbox."),
        flagged("keep-runs", .span, ["gc"], "How long the records of finished runs are kept."),
        flagged("store", .store, storing, "Where runs are recorded: postgresql://… or a path."),
        plain(
            "push", .text, "SNAPWF_PUSH",
            "Where snapshots are pushed to for the other machines of a shared store: registry.example/team/snapshots."),
        plain("org", .text, "DEPOT_ORG_ID", "The organization that a token acts for."),
        plain("home", .path, "SNAPWF_HOME", "Where runs, snapshots and sandboxes are kept."),
        plain("depot-api-url", .text, "DEPOT_API_URL", "The API of --sandbox depot."),
        plain("api-ca-file", .path, "SNAPWF_API_CA_FILE", "Certificates to trust of APIs."),
        plain("helper", .path, "SNAPWF_HELPER", "The helper."),
        plain("agent", .path, "SNAPWF_AGENT", "The first process of virtual machines."),
        plain("kernel", .path, "SNAPWF_KERNEL", "The kernel of virtual machines."),
        plain("qemu", .path, "SNAPWF_QEMU", "The emulator of virtual machines."),
    ]

    static func named(_ name: String) -> Setting? { all.first { $0.name == name } }

    /// Whether a command line, without the program's name, is of a verb that has the flag.
    func belongs(to arguments: [String]) -> Bool {
        verbs.contains { verb in
            verb == "*" || arguments.starts(with: verb.split(separator: " ").map(String.init))
        }
    }
}

extension Setting.Kind {
    /// What a value is, for people.
    var words: String {
        switch self {
        case .text: "text"
        case .path: "a path"
        case .store: "postgresql://… or a path"
        case .list: "a list of texts"
        case .bytes: "bytes, as 10GiB"
        case .span: "a span, as 15m or 7d"
        case .number(let range): "\(range.lowerBound) to \(range.upperBound)"
        case .word(let words): words.joined(separator: ", ")
        }
    }

    /// A value as it may be shown.
    func shown(_ text: String) -> String {
        if case .store = self { StoreConfiguration.shown(text) } else { text }
    }

    /// What is wrong with a value, as the end of a sentence; nil for nothing.
    func objection(to text: String) -> String? {
        switch self {
        case .store: RunsPlace.objection(to: text)
        case .text, .path, .list: text.isEmpty ? "must not be empty" : nil
        case .bytes: parseByteCount(text) != nil ? nil : "must be a number of bytes, as 512MiB or 10GiB"
        case .span: Span(argument: text) == nil ? "must be a span of time, as 90s, 15m, 2h or 7d" : nil
        case .number(let range):
            Int(text).map(range.contains) ?? false
                ? nil : "must be a number from \(range.lowerBound) to \(range.upperBound)"
        case .word(let words): words.contains(text) ? nil : "must be one of \(words.joined(separator: ", "))"
        }
    }
}
