/// What a server or the connection to it said.
struct PostgresError: Error, CustomStringConvertible {
    /// SQLSTATE; empty where the library speaks, or nobody.
    let state: String
    let message: String
    /// Whether nothing more can be asked on the connection.
    let isLost: Bool

    var description: String { state.isEmpty ? message : "\(message) (SQLSTATE \(state))" }

    static func lost(_ message: String) -> PostgresError {
        PostgresError(state: "", message: message, isLost: true)
    }

    /// The server answered, wanted a password, and there is no connection.
    static func notLetIn(_ message: String) -> PostgresError {
        PostgresError(state: "28P01", message: message, isLost: true)
    }

    /// No connection was made, in the words of the first try.
    ///
    /// - Parameter states: what the library said of the second one: for each server that refused, how grave it is, a colon,
    ///   and the SQLSTATE.
    static func refused(_ states: String, instead first: PostgresError) -> PostgresError {
        let words = states.split(separator: " ")
        let state = zip(words, words.dropFirst()).reversed().first { $0.hasSuffix(":") && isState($1) }?.1
        return state.map { PostgresError(state: String($0), message: first.message, isLost: true) } ?? first
    }

    private static func isState(_ word: Substring) -> Bool {
        word.utf8.count == 5 && word.contains(where: \.isNumber)
            && word.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) }
    }

    /// https://www.postgresql.org/docs/current/errcodes-appendix.html. A server that goes down, one that is no longer the
    /// primary one (25006), and one that ended an idle transaction (25P03) answer nothing more that helps.
    static func isEnd(_ state: String) -> Bool {
        state.hasPrefix("08") || ["57P01", "57P02", "57P03", "57P05", "25006", "25P03"].contains(state)
    }

    /// Two transactions were in each other's way, and this one was undone: again, it may get through.
    var isCollision: Bool { state == "40P01" || state == "40001" }

    /// A statement was given up because of a lock that another transaction kept, or because it took too long.
    var hasWaitedInVain: Bool { state == "55P03" || state == "57014" }

    /// Why a statement that had to change a row did not (`require_change`).
    enum Refusal: String {
        case unfitting = "WF001"
        case takenOver = "WF002"
        case ended = "WF003"
    }

    var refusal: Refusal? { Refusal(rawValue: state) }
}

/// What PostgreSQL says, in words a person can act on.
enum PostgresErrors {
    static func translate(_ error: any Error, _ name: String) -> any Error {
        guard let error = error as? PostgresError else { return error }
        if error.isLost { return unavailable(name, error) }
        switch error.state {
        // `require_open` of the schema.
        case "WF004": return WorkflowError.closed("the \(name)", cause: error)
        case "55P03":
            return WorkflowError(
                .storeBusy, "another transaction kept rows of the \(name) locked for too long: try again", cause: error)
        case "40P01", "40001":
            return WorkflowError(
                .storeBusy, "other transactions were in the way in the \(name) again and again: try again", cause: error
            )
        case let state where state.hasPrefix("53"):
            return WorkflowError(
                .storeFull,
                "the \(name) has no room or no means for more: make some and resume; nothing committed is lost",
                cause: error)
        case "42501":
            return WorkflowError(
                .storeNotWritable, "the role may not do this in the \(name): grant it the schema and its tables",
                cause: error)
        case "XX001", "XX002":
            return WorkflowError(.storeCorrupt, "the \(name) is damaged: restore a copy", cause: error)
        default:
            return WorkflowError(
                .storeFailed, "the \(name) failed: look at the server's log and resume; nothing committed is lost",
                cause: error)
        }
    }

    static func unknownOutcome(_ name: String, _ cause: PostgresError) -> WorkflowError {
        WorkflowError(
            .storeUnavailable,
            "the connection to the \(name) was lost in a commit, and the server still has that transaction in hand, so it is "
                + "not known whether it was committed or will be: see what the server waits for, then resume",
            cause: cause)
    }

    static func unavailable(_ name: String, _ cause: PostgresError) -> WorkflowError {
        WorkflowError(
            .storeUnavailable,
            "the \(name) \(refusal(cause.state)); nothing committed is lost", cause: cause)
    }

    /// Why there is no connection, and what helps.
    private static func refusal(_ state: String) -> String {
        switch state {
        case "28P01":
            "does not let the role in: see its password (~/.pgpass, which only its owner may read) and its name"
        case "28000":
            "does not let the role in from here: see its name, whether the server wants TLS, and the server's pg_hba.conf"
        case "3D000": "is not there, though its server is: create the database (createdb), or correct its name"
        case "53300":
            "has no connection left: see what holds them (pg_stat_activity), or allow the server or the role more"
        case "57P03": "is starting up, recovering or going down: wait, then resume"
        default: "cannot be reached: see that the server runs, then resume"
        }
    }
}
