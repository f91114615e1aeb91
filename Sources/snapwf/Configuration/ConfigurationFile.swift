import Files
import Glibc
import SnapshotSteps
import TOMLKit

/// What one file says. A file that says something wrong says nothing: commands that need it refuse to begin.
struct ConfigurationFile {
    struct Value {
        /// One, or for a list any number.
        let texts: [String]
        let line: Int
    }

    let path: String
    let values: [String: Value]

    /// A file of settings has some hundred bytes.
    private static let largest = 1 << 20

    /// - Parameter isProject: whether it lies in the directory that is worked in.
    /// - Returns: nil where there is none.
    /// - Throws: code `usage`, with the file and the line.
    init?(reading path: String, isProject: Bool) throws {
        guard let bytes = try Self.read(path) else { return nil }
        let text = String(decoding: bytes, as: UTF8.self)
        let table: TOMLTable
        do {
            table = try TOMLTable(string: text)
        } catch let error as TOMLParseError {
            throw Self.error(path, error.source.begin.line, "is no TOML: \(error.description)")
        }
        var values: [String: Value] = [:]
        for key in table.keys.sorted() {
            let line = Self.line(of: key, in: text)
            guard let setting = Setting.named(key) else {
                let near = nearest(key, among: Setting.all.map(\.name))
                throw Self.error(
                    path, line, "there is no setting \"\(key)\"" + (near.map { "; did you mean \($0)?" } ?? ""))
            }
            guard setting.isForProjects || !isProject else {
                throw Self.error(
                    path, line,
                    "\"\(key)\" may not be set by a directory's file: it could lead a token astray or start a program. "
                        + "Set it in your own: \(ConfigurationFiles.shownUserPath)")
            }
            values[key] = Value(texts: try Self.texts(of: setting, table, path, line), line: line)
        }
        self.path = path
        self.values = values
    }

    private static func texts(
        of setting: Setting, _ table: TOMLTable, _ path: String, _ line: Int
    ) throws -> [String] {
        let value = table[setting.name]
        var texts: [String]
        if let text = value?.string {
            texts = [text]
        } else if let number = value?.int {
            texts = ["\(number)"]
        } else if case .list = setting.kind, let array = value?.array {
            texts = array.compactMap(\.string)
            guard texts.count == array.count else {
                throw error(path, line, "\"\(setting.name)\" must be a list of texts")
            }
        } else {
            throw error(path, line, "\"\(setting.name)\" must be a text, in quotes")
        }
        for text in texts {
            if let objection = setting.kind.objection(to: text) {
                throw error(path, line, "\"\(setting.name)\" \(objection), not \"\(setting.kind.shown(text))\"")
            }
        }
        switch setting.kind {
        case .path: texts = texts.map { Self.absolute($0, beside: path) }
        case .store: texts = texts.map { $0.contains("://") ? $0 : Self.absolute($0, beside: path) }
        default: break
        }
        return texts
    }

    /// A relative path is meant from where the file lies, `~` is one's own directory.
    private static func absolute(_ path: String, beside file: String) -> String {
        if path.hasPrefix("~/"), let home = getenv("HOME") { return String(cString: home) + path.dropFirst() }
        return path.hasPrefix("/") ? path : String(file[..<(file.lastIndex(of: "/") ?? file.startIndex)]) + "/" + path
    }

    /// The bytes of a file that nobody else can have written.
    private static func read(_ path: String) throws -> [UInt8]? {
        var status = stat()
        guard stat(path, &status) == 0 else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw SnapshotError(.usage, "\(path) cannot be read: \(String(cString: strerror(errno)))")
        }
        guard status.st_uid == geteuid() || status.st_uid == 0, status.st_mode & 0o022 == 0 else {
            throw SnapshotError(
                .usage,
                "\(path) is not obeyed: others can write it. If it is yours: chmod go-w \(path), or chown it to you")
        }
        do {
            return try readFile(path, limit: largest)
        } catch {
            throw SnapshotError(.usage, "\(error)")
        }
    }

    private static func error(_ path: String, _ line: Int, _ what: String) -> SnapshotError {
        SnapshotError(.usage, "\(path):\(line): \(what)")
    }

    /// Where a key stands; the library does not say.
    private static func line(of key: String, in text: String) -> Int {
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            var rest = line.drop { $0 == " " || $0 == "\t" || $0 == "[" }
            if rest.first == "\"" { rest = rest.dropFirst() }
            guard rest.hasPrefix(key) else { continue }
            let next = rest.dropFirst(key.count).first
            if next == nil || " \t=\".]".contains(next ?? " ") { return index + 1 }
        }
        return 1
    }
}

/// Where files are looked for.
enum ConfigurationFiles {
    static let projectName = "snapwf.toml"

    /// `$SNAPWF_CONFIG`, else `$XDG_CONFIG_HOME/snapwf/config.toml`, else `~/.config/snapwf/config.toml`.
    static func userPath(_ variables: [String: String]) -> String? {
        if let named = nonEmpty(variables["SNAPWF_CONFIG"]) { return Places.absolutePath(named) }
        if let place = variables["XDG_CONFIG_HOME"], place.hasPrefix("/") { return place + "/snapwf/config.toml" }
        if let home = variables["HOME"], home.hasPrefix("/") { return home + "/.config/snapwf/config.toml" }
        return nil
    }

    /// For messages.
    static let shownUserPath = "~/.config/snapwf/config.toml"
}
