import Connect
import Foundation
import Sandbox

/// Where the next page of a list begins: after this one, in an order from the newest to the oldest.
///
/// What is made or removed between two pages moves nobody from one page to another.
struct PageCursor: Equatable {
    static let defaultSize = 50
    static let maximumSize = 500

    var createdAt: UnixTime
    var id: String

    /// The order of lists.
    static func precedes(_ left: PageCursor, _ right: PageCursor) -> Bool {
        (right.createdAt, right.id) < (left.createdAt, left.id)
    }

    var token: String { Data("\(createdAt.milliseconds) \(id)".utf8).base64EncodedString() }

    init(createdAt: UnixTime, id: String) {
        self.createdAt = createdAt
        self.id = id
    }

    init(token: String) throws(ConnectError) {
        guard let data = Data(base64Encoded: token) else { throw Self.unknown }
        let parts = String(decoding: data, as: UTF8.self).split(separator: " ", maxSplits: 1)
        guard parts.count == 2, let milliseconds = Int64(parts[0]) else { throw Self.unknown }
        self.init(createdAt: UnixTime(milliseconds: milliseconds), id: String(parts[1]))
    }

    private static var unknown: ConnectError {
        .invalid("page_token", "is none that this server gave; begin again without it")
    }

    /// - Returns: the page, and the token for the next when there is more.
    static func page<Element>(
        of all: [Element], size: Int32?, token: String?, at cursor: (Element) -> PageCursor, cost: (Element) -> Int
    ) throws(ConnectError) -> (page: [Element], next: String?) {
        if let size, size < 0 { throw .invalid("page_size", "is negative") }
        let wanted = size.map { $0 == 0 ? defaultSize : min(Int($0), maximumSize) } ?? defaultSize
        var rest = all.sorted { precedes(cursor($0), cursor($1)) }[...]
        if let token, !token.isEmpty {
            let last = try PageCursor(token: token)
            rest = rest.drop { !precedes(last, cursor($0)) }
        }
        var page: [Element] = []
        var room = 2 << 20
        // One at least, however large; then as many as an answer holds.
        while let element = rest.first, page.count < wanted {
            room -= cost(element)
            if room < 0 && !page.isEmpty { break }
            page.append(element)
            rest = rest.dropFirst()
        }
        return (page, rest.isEmpty ? nil : page.last.map { cursor($0).token })
    }
}
