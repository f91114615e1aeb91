/// The pages of one list, put together: complete, or an error.
struct ListedPages<Item: Sendable>: Sendable {
    /// So many pages, and no more: a server that never comes to an end has to be left some time.
    static var mostPages: Int { 1000 }

    private(set) var items: [Item] = []
    private var ids: Set<String> = []
    private var tokens: Set<String> = []
    private var pages = 0

    /// Adds a page. What moved to a later page meanwhile is counted once.
    ///
    /// - Parameter token: where the next page begins; empty at the end.
    /// - Returns: the token to go on with; `nil` at the end.
    /// - Throws: when the list cannot be complete: an entry without an id, a token for the second time, too many pages.
    mutating func add(_ page: [Item], id: (Item) -> String, next token: String) throws(SandboxError) -> String? {
        for item in page {
            let id = id(item)
            guard !id.isEmpty else { throw Self.broken("an entry has no id") }
            if ids.insert(id).inserted { items.append(item) }
        }
        pages += 1
        guard !token.isEmpty else { return nil }
        guard tokens.insert(token).inserted else { throw Self.broken("its pages go round in a circle") }
        guard pages < Self.mostPages else { throw Self.broken("it does not end after \(pages) pages") }
        return token
    }

    private static func broken(_ why: String) -> SandboxError {
        SandboxError(.unavailable, "the API's list is not usable: \(why); try again")
    }
}
