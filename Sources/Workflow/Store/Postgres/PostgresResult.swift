import CPQ

/// What one statement answered. Belongs to the thread that asked, or to one it is handed to whole.
final class PostgresResult {
    private let handle: OpaquePointer
    private let columns: [String: Int32]
    let count: Int

    init(_ handle: OpaquePointer) {
        self.handle = handle
        count = Int(cpq_rows(handle))
        var columns: [String: Int32] = [:]
        for index in 0..<cpq_columns(handle) {
            if let name = cpq_column_name(handle, index) { columns[String(cString: name)] = index }
        }
        self.columns = columns
    }

    deinit {
        cpq_clear(handle)
    }

    /// Of the columns.
    var names: [String] { Array(columns.keys) }

    var rows: [PostgresRow] { (0..<count).map { PostgresRow(result: self, index: Int32($0)) } }
    var first: PostgresRow? { count > 0 ? PostgresRow(result: self, index: 0) : nil }

    fileprivate func text(_ row: Int32, _ column: String) throws -> String? {
        guard let index = columns[column] else {
            throw WorkflowError(.storeFailed, "the store answered no column '\(column)'")
        }
        var length: Int32 = 0
        guard let value = cpq_value(handle, row, index, &length) else { return nil }
        return value.withMemoryRebound(to: UInt8.self, capacity: Int(length)) { bytes in
            String(decoding: UnsafeBufferPointer(start: bytes, count: Int(length)), as: UTF8.self)
        }
    }
}

/// One row of it.
struct PostgresRow: StoredRow {
    fileprivate let result: PostgresResult
    fileprivate let index: Int32

    func text(_ column: String) throws -> String? { try result.text(index, column) }

    func integer(_ column: String) throws -> Int64? {
        guard let text = try text(column) else { return nil }
        guard let number = Int64(text) else {
            throw WorkflowError(.storeCorrupt, "the store holds '\(text)' as \(column), which is no number")
        }
        return number
    }

    func flag(_ column: String) throws -> Bool { try text(column) == "t" }
}
