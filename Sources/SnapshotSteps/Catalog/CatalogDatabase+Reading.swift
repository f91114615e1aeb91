import FoundationEssentials
import GRDB
import HelperInterface

extension CatalogDatabase {
    func snapshot(key: String) throws(SnapshotError) -> Snapshot? {
        try read("look up a snapshot") { try Snapshot.fetch($0, "WHERE key = ?", [key]).first }
    }

    func snapshot(name: String) throws(SnapshotError) -> Snapshot? {
        try read("look up a snapshot") {
            try Snapshot.fetch($0, "WHERE key = (SELECT key FROM snapshot_names WHERE name = ?)", [name]).first
        }
    }

    func snapshot(id: String) throws(SnapshotError) -> Snapshot? {
        try read("look up a snapshot") { try Snapshot.fetch($0, "WHERE id = ?", [id]).first }
    }

    func newestSnapshot() throws(SnapshotError) -> Snapshot? {
        try read("look up a snapshot") {
            try Snapshot.fetch($0, "ORDER BY created_at DESC, id DESC LIMIT 1", []).first
        }
    }

    /// Those whose key or SHA-256 begins like this, the oldest first.
    ///
    /// - Parameter prefix: lower-case hexadecimal digits.
    func snapshots(prefix: String, limit: Int) throws(SnapshotError) -> [Snapshot] {
        // "g" comes after every digit.
        try read("look up a snapshot") {
            try Snapshot.fetch(
                $0, "WHERE (key >= ? AND key < ?) OR (sha256 >= ? AND sha256 < ?) ORDER BY created_at, id LIMIT ?",
                [prefix, prefix + "g", prefix, prefix + "g", limit])
        }
    }

    func snapshots() throws(SnapshotError) -> [Snapshot] {
        try read("list the snapshots") { try Snapshot.fetch($0, "ORDER BY created_at, id", []) }
    }

    func namesAndIDs(limit: Int) throws(SnapshotError) -> [String] {
        try read("list the snapshots") {
            try String.fetchAll(
                $0, sql: "SELECT name FROM snapshot_names UNION ALL SELECT id FROM snapshots LIMIT ?",
                arguments: [limit])
        }
    }
}

extension Snapshot {
    /// The path is not in the row, so that a store may be moved: ``Catalog`` fills it in.
    fileprivate static func fetch(
        _ database: Database, _ condition: String, _ arguments: StatementArguments
    ) throws -> [Snapshot] {
        let rows = try Row.fetchAll(database, sql: "SELECT * FROM snapshots \(condition)", arguments: arguments)
        return try rows.map { row in
            var snapshot = try Snapshot(row: row)
            try snapshot.fetchCompanions(database)
            return snapshot
        }
    }

    private init(row: Row) throws {
        var result = PullResult(
            output: "", sha256: row["sha256"], size: UInt64(clamping: row["size"] as Int64), uuid: row["uuid"],
            key: row["key"], image: row["image"], manifestDigest: row["manifest_digest"], platform: row["platform"],
            entries: row["entries"], layerBytes: 0, warnings: [], config: row["config"])
        if let verity = row["verity"] as String? {
            result.verity = try JSONDecoder().decode(VerityResult.self, from: Data(verity.utf8))
        }
        result.sourceDateEpoch = row["source_date_epoch"]
        let source = row["origin_source"] as String? ?? ""
        let origin: SnapshotOrigin =
            switch row["origin"] as String {
            case "pulled": .pulled(reference: source)
            case "captured": .captured(sandbox: source, run: row["run_id"])
            default: .run(row["run_id"])
            }
        self.init(result, origin: origin, at: row["created_at"])
        id = row["id"]
        lastUsedAt = row["last_used_at"]
        bootMilliseconds = row["boot_ms"]
    }

    private mutating func fetchCompanions(_ database: Database) throws {
        names = try String.fetchAll(
            database.cachedStatement(sql: "SELECT name FROM snapshot_names WHERE key = ? ORDER BY name"),
            arguments: [key])
        let pairs = try Row.fetchAll(
            database.cachedStatement(sql: "SELECT name, value FROM snapshot_labels WHERE key = ?"), arguments: [key])
        labels = Dictionary(pairs.map { ($0["name"], $0["value"]) }) { $1 }
        let places = try Row.fetchAll(
            database.cachedStatement(
                sql: """
                    SELECT reference, way, noted_at FROM snapshot_artifacts WHERE key = ? ORDER BY noted_at, reference
                    """), arguments: [key])
        artifacts = places.map { row in
            SnapshotArtifact(
                reference: row["reference"], way: row["way"] == "pushed" ? .pushed : .pulled, notedAt: row["noted_at"])
        }
    }
}
