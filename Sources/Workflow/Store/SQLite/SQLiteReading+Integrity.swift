import Foundation
import GRDB

extension SQLiteReading {
    func checkIntegrity() async throws -> [String] {
        do {
            return try await reader.read { db in
                try problems(of: db, "PRAGMA integrity_check") { row in
                    let text: String = row[0]
                    return text == "ok" ? [] : text.split(separator: "\n").map(String.init)
                }
                    + problems(of: db, "PRAGMA foreign_key_check") { row in
                        let place = (row["rowid"] as Int64?).map { " \($0)" } ?? ""
                        return [
                            "row\(place) of \(row[0] as String) belongs to a row of \(row[2] as String) that is not there"
                        ]
                    }
            }
        } catch let error as WorkflowError where error.code == .storeCorrupt {
            // The file cannot even be opened as a database.
            return [error.description]
        }
    }
}

/// What a pragma has to complain about. Damage that stops it is one more complaint, not an error.
private func problems(of db: Database, _ pragma: String, _ describe: (Row) -> [String]) throws -> [String] {
    let limit = 100
    var found: [String] = []
    do {
        let rows = try Row.fetchCursor(db, sql: pragma)
        while found.count < limit, let row = try rows.next() { found += describe(row) }
    } catch let error as DatabaseError where [.SQLITE_CORRUPT, .SQLITE_NOTADB].contains(error.resultCode) {
        found.append("\(pragma) could not go on: \(error.message ?? "\(error.resultCode)")")
    }
    return found
}
