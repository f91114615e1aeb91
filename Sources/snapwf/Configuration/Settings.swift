import FoundationEssentials
import Glibc
import SnapshotSteps

/// What is set outside the command line, and where: environment before the directory's file before one's own.
struct Settings {
    /// Where a value comes from.
    enum Source: Hashable {
        case flag
        case variable(String)
        case file(String, line: Int)
        case standard

        var words: String {
            switch self {
            case .flag: "the command line"
            case .variable(let name): "the environment: \(name)"
            case .file(let path, let line): "\(path):\(line)"
            case .standard: "default"
            }
        }
    }

    struct Value {
        let texts: [String]
        let source: Source
        /// Of two of a group, the nearer wins: 0 is the environment.
        fileprivate let distance: Int
    }

    /// By the setting's name.
    private(set) var values: [String: Value] = [:]
    /// The files that were looked for, and whether each is there.
    private(set) var files: [(path: String, isThere: Bool)] = []

    /// - Throws: code `usage` for what is wrong in a file or a variable.
    init(variables: [String: String], directory: String) throws {
        var layers: [ConfigurationFile] = []
        let project = directory + "/" + ConfigurationFiles.projectName
        let user = ConfigurationFiles.userPath(variables)
        for (path, isProject) in [(project, true)] + (user.map { [($0, false)] } ?? []) {
            // Who stands in the directory of their own file has one file.
            if isProject, path == user { continue }
            let file = try ConfigurationFile(reading: path, isProject: isProject)
            files.append((path, file != nil))
            if let file { layers.append(file) }
        }
        if let named = nonEmpty(variables["SNAPWF_CONFIG"]), files.last?.isThere == false {
            throw SnapshotError(.usage, "SNAPWF_CONFIG names \(named), and there is no such file")
        }
        for setting in Setting.all {
            if let text = nonEmpty(variables[setting.variable]) {
                if setting.flag != nil, let objection = setting.kind.objection(to: text) {
                    throw SnapshotError(.usage, "\(setting.variable) \(objection), not \"\(setting.kind.shown(text))\"")
                }
                values[setting.name] = Value(
                    texts: setting.isList ? text.split(separator: ",").map(String.init) : [text],
                    source: .variable(setting.variable), distance: 0)
                continue
            }
            for (index, file) in layers.enumerated() {
                guard let value = file.values[setting.name] else { continue }
                values[setting.name] = Value(
                    texts: value.texts, source: .file(file.path, line: value.line), distance: index + 1)
                break
            }
        }
        keepNearestOfGroups()
    }

    private mutating func keepNearestOfGroups() {
        for group in Set(Setting.all.compactMap(\.group)) {
            let members = Setting.all.filter { $0.group == group }
            guard let nearest = members.compactMap({ values[$0.name]?.distance }).min() else { continue }
            for member in members where (values[member.name]?.distance ?? 0) > nearest { values[member.name] = nil }
        }
    }

    /// Tells this process what only its environment says. Before anything reads it.
    func exportVariables() {
        for setting in Setting.all where setting.flag == nil {
            guard let value = values[setting.name], case .file = value.source else { continue }
            setenv(setting.variable, value.texts[0], 0)
        }
    }

    /// A command line, without the program's name, with the flags that it does not say itself.
    ///
    /// - Parameter verbs: how many of the arguments are verbs; the flags go behind them.
    func completing(_ arguments: [String], verbs count: Int) -> [String] {
        let said = arguments.prefix { $0 != "--" }
        if said.contains(where: { ["-h", "--help", "--version"].contains($0) || $0.hasPrefix("---") }) {
            return arguments
        }
        func says(_ flag: String?) -> Bool {
            flag.map { flag in said.contains { $0 == flag || $0.hasPrefix(flag + "=") } } ?? false
        }
        var added: [String] = []
        for setting in Setting.all where setting.belongs(to: arguments) {
            guard let flag = setting.flag, let value = values[setting.name], !says(flag) else { continue }
            if let group = setting.group, Setting.all.contains(where: { $0.group == group && says($0.flag) }) {
                continue
            }
            added += value.texts.map { "\(flag)=\($0)" }
        }
        return arguments.prefix(count) + added + arguments.dropFirst(count)
    }
}

extension Setting {
    var isList: Bool { if case .list = kind { true } else { false } }
}
