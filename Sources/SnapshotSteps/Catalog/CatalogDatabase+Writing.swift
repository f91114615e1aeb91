import FoundationEssentials
import GRDB

extension CatalogDatabase {
    /// Adds a row, or brings the one that has the key up to date; its names and labels stay.
    func insert(_ snapshot: Snapshot) throws(SnapshotError) {
        try write("add a snapshot") { database in
            let (origin, source) = snapshot.origin.columns
            let verity = try snapshot.verity.map { String(decoding: try JSONEncoder().encode($0), as: UTF8.self) }
            try database.execute(
                sql: """
                    INSERT INTO snapshots (key, id, image, manifest_digest, platform, sha256, uuid, size, entries,
                        config, run_id, created_at, last_used_at, origin, origin_source, verity, source_date_epoch)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET
                        image = excluded.image, sha256 = excluded.sha256, uuid = excluded.uuid, size = excluded.size,
                        entries = excluded.entries, config = excluded.config, run_id = excluded.run_id,
                        created_at = excluded.created_at, origin = excluded.origin,
                        origin_source = excluded.origin_source, verity = excluded.verity,
                        source_date_epoch = excluded.source_date_epoch,
                        boot_ms = CASE WHEN sha256 = excluded.sha256 THEN boot_ms END
                    """,
                arguments: [
                    snapshot.key, snapshot.id, snapshot.image, snapshot.manifestDigest, snapshot.platform,
                    snapshot.sha256, snapshot.uuid, Int64(clamping: snapshot.size), snapshot.entries, snapshot.config,
                    snapshot.runID ?? "", snapshot.createdAt, snapshot.lastUsedAt, origin, source, verity,
                    snapshot.sourceDateEpoch,
                ])
        }
    }

    func remove(key: String) throws(SnapshotError) {
        try write("remove a snapshot") { database in
            try database.execute(sql: "DELETE FROM snapshots WHERE key = ?", arguments: [key])
        }
    }

    func touch(key: String, at time: Int64) throws(SnapshotError) {
        try write("note the use of a snapshot") { database in
            try database.execute(
                sql: "UPDATE snapshots SET last_used_at = max(last_used_at, ?) WHERE key = ?", arguments: [time, key])
        }
    }

    func setOrigin(_ origin: SnapshotOrigin, key: String) throws(SnapshotError) {
        try write("note where a snapshot comes from") { database in
            let (name, source) = origin.columns
            try database.execute(
                sql: "UPDATE snapshots SET origin = ?, origin_source = ?, run_id = ? WHERE key = ?",
                arguments: [name, source, origin.run ?? "", key])
        }
    }

    /// - Returns: the id of another snapshot that had the name.
    func setName(_ name: String, key: String, id: String, at time: Int64) throws(SnapshotError) -> String? {
        try write("name a snapshot") { database in
            try requireRow(database, key, id)
            let before = try String.fetchOne(
                database,
                sql: "SELECT id FROM snapshots JOIN snapshot_names USING (key) WHERE name = ? AND key <> ?",
                arguments: [name, key])
            try database.execute(
                sql: """
                    INSERT INTO snapshot_names (name, key, set_at) VALUES (?, ?, ?)
                    ON CONFLICT (name) DO UPDATE SET key = excluded.key, set_at = excluded.set_at
                    """, arguments: [name, key, time])
            return before
        }
    }

    /// - Returns: whether a snapshot had it.
    func removeName(_ name: String) throws(SnapshotError) -> Bool {
        try write("take a name away") { database in
            try database.execute(sql: "DELETE FROM snapshot_names WHERE name = ?", arguments: [name])
            return database.changesCount > 0
        }
    }

    func setLabels(_ labels: [String: String], key: String, id: String) throws(SnapshotError) {
        try write("label a snapshot") { database in
            try requireRow(database, key, id)
            for (name, value) in labels {
                try database.execute(
                    sql: "DELETE FROM snapshot_labels WHERE key = ? AND name = ?", arguments: [key, name])
                if value.isEmpty { continue }
                try database.execute(
                    sql: "INSERT INTO snapshot_labels (key, name, value) VALUES (?, ?, ?)",
                    arguments: [key, name, value])
            }
        }
    }

    func note(_ artifact: SnapshotArtifact, key: String, id: String) throws(SnapshotError) {
        try write("note where a snapshot is") { database in
            try requireRow(database, key, id)
            try database.execute(
                sql: """
                    INSERT INTO snapshot_artifacts (key, reference, way, noted_at) VALUES (?, ?, ?, ?)
                    ON CONFLICT (key, reference) DO UPDATE SET noted_at = excluded.noted_at
                    """, arguments: [key, artifact.reference, artifact.way.rawValue, artifact.notedAt])
        }
    }

    func setBootTime(_ milliseconds: Int, key: String, id: String) throws(SnapshotError) {
        try write("note a boot") { database in
            try requireRow(database, key, id)
            try database.execute(
                sql: "UPDATE snapshots SET boot_ms = ? WHERE key = ?", arguments: [milliseconds, key])
        }
    }

    /// Of a snapshot that was removed meanwhile nothing is noted.
    private func requireRow(_ database: Database, _ key: String, _ id: String) throws {
        let isThere = try Bool.fetchOne(
            database, sql: "SELECT EXISTS (SELECT 1 FROM snapshots WHERE key = ?)", arguments: [key])
        guard isThere == true else {
            throw SnapshotError(
                .snapshotNotFound, "snapshot \(id) was removed meanwhile; list them: snapwf snapshots ls")
        }
    }
}

extension SnapshotOrigin {
    fileprivate var columns: (origin: String, source: String?) {
        switch self {
        case .run: ("run", nil)
        case .captured(let sandbox, _): ("captured", sandbox)
        case .pulled(let reference): ("pulled", reference)
        }
    }

    var run: String? {
        switch self {
        case .run(let run), .captured(_, let run): run
        case .pulled: nil
        }
    }
}
