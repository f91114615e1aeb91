import Foundation

/// Tables of a program's own in the database of a store that machines share, over one connection and thread of their own.
///
/// The connection is made with the first call. Where it is lost, what was asked is asked again on a new one, for as long as
/// ``StoreConfiguration/reconnectTimeout`` says; so statements have to mean the same when they are executed twice.
package final class SharedDatabase: Sendable {
    /// One statement; values are in the text form of their types.
    package struct Statement: Sendable {
        let sql: String
        let values: [String?]

        package init(_ sql: String, _ values: [String?] = []) {
            self.sql = sql
            self.values = values
        }
    }

    package struct Row: Sendable {
        fileprivate let values: [String: String]

        /// `nil` for NULL.
        package func text(_ column: String) -> String? { values[column] }

        /// - Throws: `storeCorrupt` for NULL.
        package func needText(_ column: String) throws -> String {
            guard let text = values[column] else {
                throw WorkflowError(
                    .storeCorrupt, "the store holds nothing as \(column), where there has to be a value")
            }
            return text
        }

        package func integer(_ column: String) throws -> Int64? {
            guard let text = values[column] else { return nil }
            guard let number = Int64(text) else {
                throw WorkflowError(.storeCorrupt, "the store holds '\(text)' as \(column), which is no number")
            }
            return number
        }
    }

    private let worker: WorkerThread
    private let box: Box
    private let closed = Promise<Void>()

    /// Asks nobody.
    ///
    /// - Parameters:
    ///   - store: a shared one.
    ///   - table: which remembers the changes that were made to the schema.
    ///   - changes: of the schema, oldest first; made with the first call.
    ///   - isReading: whether nothing is written: then the schema has to be there.
    package init(
        beside store: StoreConfiguration, table: String, changes: [(identifier: String, sql: String)],
        isReading: Bool = false
    ) throws {
        guard case .server(let address) = store.place else {
            throw WorkflowError(.storeNotWritable, "a SQLite store is shared by nobody: name a PostgreSQL database")
        }
        let schema = PostgresSchema(table: table, changes: changes)
        let name = try address.name()
        box = Box(
            link: try PostgresLink(store, address, for: isReading ? .reading : .writing) { connection, isFirst in
                if isReading, isFirst {
                    try PostgresMigration.requireCurrent(connection, name: name, schema)
                } else if !isReading {
                    try PostgresMigration.migrate(connection, schema, isFirst: isFirst)
                }
            })
        worker = WorkerThread.start(name: "shared-database")
    }

    deinit { worker.stop() }

    /// Executes statements in one transaction.
    ///
    /// - Returns: what each answered.
    /// - Throws: ``WorkflowError``; `noStore` where only is read and there is no schema.
    package func perform(_ statements: [Statement]) async throws -> [[Row]] {
        try await worker.perform { [box] in try box.perform(statements) }
    }

    /// Closes the connection after what was asked before. Safe to call twice.
    package func close() async {
        let accepted = worker.submit { [box, closed] in
            box.link.close()
            closed.fulfil(())
        }
        worker.stop()
        if accepted { await closed.value() }
    }

    /// Lets the link be kept where only the thread uses it.
    private final class Box: @unchecked Sendable {
        let link: PostgresLink
        init(link: PostgresLink) { self.link = link }

        func perform(_ statements: [Statement]) throws -> [[Row]] {
            var (losses, collisions) = (0, 0)
            while true {
                do {
                    let results = try once(statements, try link.connected())
                    link.worked()
                    return results
                } catch let error as PostgresError where error.isLost && link.mayTryAgain(after: losses) {
                    losses += 1
                    link.drop()
                } catch let error as PostgresError where error.isCollision && collisions < 5 {
                    collisions += 1
                } catch {
                    throw PostgresErrors.translate(error, link.name)
                }
            }
        }

        /// What is sent up to one sync is one transaction.
        private func once(_ statements: [Statement], _ connection: PostgresConnection) throws -> [[Row]] {
            let results = try connection.pipeline(statements.map { PostgresQuery($0.sql, $0.values) })
            // The first that failed says why; those behind it were skipped.
            return try results.map { result in
                let answer = try result.get()
                return try answer.rows.map { row in
                    var values: [String: String] = [:]
                    for name in answer.names { values[name] = try row.text(name) }
                    return Row(values: values)
                }
            }
        }
    }
}
