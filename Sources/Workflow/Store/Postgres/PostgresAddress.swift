import CPQ
import Foundation

/// Where a server and a database are, as libpq understands it: a URL or a list of keywords and values, completed by the
/// environment, a service file and `.pgpass`.
///
/// It may hold a password, so nothing that can be shown is made from it but ``name``.
struct PostgresAddress: Sendable, CustomStringConvertible, CustomReflectable {
    /// For libpq alone.
    let connectionString: String

    init(_ connectionString: String) {
        self.connectionString = connectionString
    }

    /// Whether a text is the address of a server rather than the path of a file.
    static func isURL(_ text: String) -> Bool {
        text.hasPrefix("postgres://") || text.hasPrefix("postgresql://")
    }

    /// Never the string itself: an error or a log may show this.
    var description: String { "a PostgreSQL database" }
    var customMirror: Mirror { Mirror(self, children: []) }

    /// What a person knows the database by: host, port and name, as far as the string says them.
    func name() throws -> String {
        guard !hasStrayPassword else { throw Self.notUnderstood }
        let database = try option("dbname") ?? "its default"
        let host = try option("host") ?? option("hostaddr") ?? option("service") ?? "its default host"
        let port = try option("port").map { ":\($0)" } ?? ""
        return "PostgreSQL database '\(database)' on \(host)\(port)"
    }

    /// Whether a password that nobody encoded may have become a part of the host or of the database's name, which are shown.
    private var hasStrayPassword: Bool {
        guard Self.isURL(connectionString), let start = connectionString.firstRange(of: "://")?.upperBound else {
            return false
        }
        let place = connectionString[start...].prefix { $0 != "?" }
        guard let at = place.lastIndex(of: "@") else { return false }
        return place[..<at].contains { $0 == "@" || $0 == "/" }
    }

    private static let notUnderstood = WorkflowError(
        .storeNotWritable,
        "the address of the store is not one that libpq understands: write it as "
            + "postgresql://user@host:port/database?sslmode=verify-full, with %XX for what is special in it")

    /// Takes out of a text of libpq or the server what must not be shown. Neither is known to repeat a password, and
    /// neither promises not to.
    func redact(_ text: String) -> String {
        var secrets: [String] = []
        if let password = try? option("password"), !password.isEmpty { secrets.append(password) }
        if let password = ProcessInfo.processInfo.environment["PGPASSWORD"], !password.isEmpty {
            secrets.append(password)
        }
        if connectionString.utf8.count > 3 { secrets.append(connectionString) }
        return secrets.reduce(text) { $0.replacing($1, with: "***") }
    }

    /// A URL as it may be shown. Where it is not clear what is a password, more is left out than need be.
    static func withoutPassword(_ url: String) -> String {
        guard let start = url.firstRange(of: "://")?.upperBound else { return url }
        var rest = url[start...]
        var shown = String(url[..<start])
        // A password that somebody forgot to encode may hold anything, also what ends a user's part.
        if let at = rest.lastIndex(of: "@") {
            let user = rest[..<at]
            shown += user.prefix { $0 != ":" } + (user.contains(":") ? ":***@" : "@")
            rest = rest[rest.index(after: at)...]
        }
        guard let mark = rest.firstIndex(of: "?") else { return shown + rest }
        let options = rest[rest.index(after: mark)...].split(separator: "&").map { option in
            let name = option.prefix { $0 != "=" }
            return name.lowercased().contains("pass") ? "\(name)=***" : String(option)
        }
        return shown + rest[...mark] + options.joined(separator: "&")
    }

    private func option(_ keyword: String) throws -> String? {
        try PostgresLibrary.require()
        var isValid: Int32 = 0
        guard let value = cpq_option(connectionString, keyword, &isValid) else {
            // What libpq says of it may quote a part of a password.
            guard isValid != 0 else { throw Self.notUnderstood }
            return nil
        }
        defer { free(value) }
        let text = String(cString: value)
        return text.isEmpty ? nil : text
    }
}

/// libpq, which is there when it was installed.
enum PostgresLibrary {
    static func require() throws {
        guard cpq_is_there() != 0 else {
            throw WorkflowError(
                .storeNotWritable,
                "the store is on PostgreSQL, and its client library libpq.so.5 (version 14 or later) is not there: install "
                    + "it (Debian and Ubuntu: apt-get install libpq5)")
        }
    }
}
