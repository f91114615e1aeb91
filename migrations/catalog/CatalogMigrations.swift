/// The catalog's schema, oldest step first. A step that was released is never changed; changes are new steps.
package enum CatalogMigrations {
    package static let all: [(identifier: String, sql: String)] = [
        ("v0001_snapshots", String(decoding: PackageResources.v0001_snapshots_sql, as: UTF8.self)),
        ("v0002_names_and_origins", String(decoding: PackageResources.v0002_names_and_origins_sql, as: UTF8.self)),
    ]
}
