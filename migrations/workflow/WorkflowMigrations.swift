/// The engine's schema, as an ordered list of changes. A change that was released is never edited again.
package enum WorkflowMigrations {
    /// One change of the schema.
    package struct Migration: Sendable {
        /// What the database remembers it by.
        package let identifier: String
        /// The statements, run in one transaction.
        package let sql: String
    }

    /// All changes, oldest first.
    package static let all: [Migration] = [
        Migration(identifier: "v0001_initial", sql: text(PackageResources.v0001_initial_sql)),
        Migration(identifier: "v0002_queues", sql: text(PackageResources.v0002_queues_sql)),
        Migration(identifier: "v0003_standing", sql: text(PackageResources.v0003_standing_sql)),
    ]

    private static func text(_ bytes: [UInt8]) -> String {
        String(decoding: bytes, as: UTF8.self)
    }
}
