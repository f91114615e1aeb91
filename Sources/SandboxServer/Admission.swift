import Connect
import Threads

/// At most so many of a kind at once. So many more stand in line; the rest is refused in the API's words.
struct Admission: Sendable {
    private let what: String
    private let limit: Int
    private let turns: Turns

    /// - Parameter what: for messages; a plural.
    init(_ what: String, limit: Int, line: Int) {
        self.what = what
        self.limit = limit
        turns = Turns(atOnce: limit, line: line)
    }

    /// How many stand in line now.
    var waiting: Int { turns.waiting }

    /// - Throws: `resource_exhausted` when the line is full, and what `body` throws.
    func run<Result>(_ body: () async throws -> Result) async throws -> Result {
        do {
            return try await turns.run(body)
        } catch is Turns.Full {
            throw ConnectError(
                .resourceExhausted, "\(limit) \(what) are the most at once here; try again when some are done")
        }
    }
}
