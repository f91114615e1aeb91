/// A table that belongs to the runs of a store: what a copy of them consists of.
///
/// Tables that are about the store itself stay out: `store`, `sequence`, `leases`, `writers`, `workflow_migrations`. Columns
/// are asked of the databases, so a change of the schema that adds one is copied, too; one that adds a table is not, and
/// a test says so.
enum CopiedTable: String, CaseIterable, Sendable {
    // In this order no row refers to one that is not there yet.
    case runs
    case steps
    case resources
    case events
    case signals
    case queues
    case queueStarts = "queue_starts"

    /// The column that numbers the rows: SQLite's own number where the table has no such column.
    var key: String {
        switch self {
        case .runs: "no"
        case .events, .signals: "seq"
        case .steps, .resources, .queues, .queueStarts: "place"
        }
    }

    /// The tables whose rows go with those of no other: together they are all that a copy fills.
    static let roots: [CopiedTable] = [.runs, .queues, .queueStarts]

    /// Whether the number is one that the database gives.
    var isNumberedByDatabase: Bool { key == "place" }
}

/// What stands in one column of one row.
enum CopiedValue: Sendable, Hashable {
    case null
    case integer(Int64)
    case text(String)

    /// About how many bytes it takes.
    var size: Int {
        if case .text(let text) = self { text.utf8.count } else { 8 }
    }
}

/// Some rows of a table, in the order of their numbers. Values stand in the order of the columns.
struct CopiedPage: Sendable {
    /// Behind the table's key, by name.
    let columns: [String]
    var rows: [CopiedRow] = []
}

struct CopiedRow: Sendable, Hashable {
    let key: Int64
    let values: [CopiedValue]
}

/// How many rows the next page may have: few of large ones, so that a page stays within some megabytes.
struct PageLimit {
    private(set) var rows = 64
    private static let most = 1024
    private static let aim = 2 << 20

    mutating func adapt(to page: CopiedPage) {
        let size = page.rows.reduce(0) { $0 + $1.values.reduce(0) { $0 + $1.size } }
        if size > Self.aim {
            rows = max(rows / 4, 1)
        } else if size < Self.aim / 8 {
            rows = min(rows * 2, Self.most)
        }
    }
}

/// A checksum of all rows of a table, whichever database keeps them.
struct RowChecksum {
    private(set) var rows = 0
    /// SHA-256 of the one before and of the row.
    private(set) var text = ""

    mutating func add(_ page: CopiedPage) {
        for row in page.rows {
            var bytes = Array(text.utf8)
            append("\(row.key)", to: &bytes)
            for (column, value) in zip(page.columns, row.values) {
                append(column, to: &bytes)
                switch value {
                case .null: bytes.append(0)
                case .integer(let number):
                    bytes.append(1)
                    append("\(number)", to: &bytes)
                case .text(let text):
                    bytes.append(2)
                    append(text, to: &bytes)
                }
            }
            text = SHA256.hexadecimal(of: bytes)
            rows += 1
        }
    }

    /// With its length before it, so that no two rows have the same bytes.
    private func append(_ text: String, to bytes: inout [UInt8]) {
        bytes += Array("\(text.utf8.count):".utf8)
        bytes += Array(text.utf8)
    }
}
