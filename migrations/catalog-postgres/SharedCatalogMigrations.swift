/// The shared catalog's schema, oldest step first. A step that was released is never changed; changes are new steps.
package enum SharedCatalogMigrations {
    package static let all: [(identifier: String, sql: String)] = [
        ("v0001_shared_catalog", String(decoding: PackageResources.v0001_shared_catalog_sql, as: UTF8.self))
    ]
}
