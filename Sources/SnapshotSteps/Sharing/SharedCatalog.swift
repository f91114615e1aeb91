import FoundationEssentials
import Glibc
import HelperInterface
import SharedCatalogMigrations
package import Workflow

/// The snapshots of all installations that share a store, in tables beside its runs.
///
/// A row says what the bytes of a key are, where they can be fetched from and which installations have them. What is *here*
/// is said by the ``Catalog`` of this installation alone: only it can look at its files and keep them from being removed
/// while somebody works with them. So a row here is never proof that a file is there, and none of this installation's
/// rows depends on one here.
///
/// A snapshot is recorded here after it was verified and registered there. Each write may be repeated.
package final class SharedCatalog: Sendable {
    /// This installation, and the name of its host.
    let owner: String
    package let host: String
    private let database: SharedDatabase

    /// Asks nobody.
    ///
    /// - Parameter isReading: for who only looks: nothing is made or brought up to date.
    package init(store: StoreConfiguration, owner: String, isReading: Bool = false) throws {
        self.owner = owner
        host = Self.nameOfHost
        database = try SharedDatabase(
            beside: store, table: "shared_catalog_migrations", changes: SharedCatalogMigrations.all,
            isReading: isReading)
    }

    package func close() async { await database.close() }

    /// The kernel's name of this host; no name service is asked.
    private static let nameOfHost: String = {
        var buffer = [CChar](repeating: 0, count: 256)
        guard gethostname(&buffer, buffer.count - 1) == 0 else { return "unknown" }
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }()

    // MARK: Looking

    /// What is known of a key; `nil` when nobody has recorded it.
    package func snapshot(forKey key: String) async throws -> SharedSnapshot? {
        try await select("WHERE key = $1", [key]).first
    }

    /// All, the oldest first.
    package func snapshots() async throws -> [SharedSnapshot] { try await select("", []) }

    /// Those whose key or SHA-256 begins like this, at most five.
    ///
    /// - Parameter prefix: as a person writes it: also an id, and in capitals.
    package func snapshots(prefix text: String) async throws -> [SharedSnapshot] {
        var digits = text.lowercased()
        for start in ["snap-", "sha256:"] where digits.hasPrefix(start) {
            digits = String(digits.dropFirst(start.count))
        }
        guard (1...64).contains(digits.utf8.count), digits.utf8.allSatisfy(CatalogLayout.isHexDigit) else { return [] }
        return try await select(
            "WHERE (key >= $1 AND key < $2) OR (sha256 >= $1 AND sha256 < $2)", [digits, digits + "g"], limit: 5)
    }

    /// The image config of a snapshot.
    package func config(ofKey key: String) async throws -> String? {
        try await perform([.init("SELECT config FROM shared_snapshots WHERE key = $1", [key])])[0].first?.text("config")
    }

    private func select(_ condition: String, _ values: [String?], limit: Int? = nil) async throws -> [SharedSnapshot] {
        let found = """
            SELECT \(SharedSnapshot.columns) FROM shared_snapshots \(condition)
            ORDER BY created_at, id\(limit.map { " LIMIT \($0)" } ?? "")
            """
        let keys = "IN (SELECT key FROM (\(found)) AS found)"
        let answers = try await perform([
            .init(found, values),
            .init("SELECT * FROM shared_places WHERE key \(keys) ORDER BY noted_at DESC, reference", values),
            .init("SELECT * FROM shared_copies WHERE key \(keys) ORDER BY noted_at, owner", values),
        ])
        let places = Dictionary(grouping: answers[1]) { $0.text("key") ?? "" }
        let copies = Dictionary(grouping: answers[2]) { $0.text("key") ?? "" }
        return try answers[0].map { row in
            var snapshot = try SharedSnapshot(row)
            snapshot.places = try (places[snapshot.key] ?? []).map {
                SnapshotArtifact(
                    reference: try $0.needText("reference"), way: .pushed, notedAt: try $0.integer("noted_at") ?? 0)
            }
            snapshot.copies = try (copies[snapshot.key] ?? []).map {
                SharedSnapshot.Copy(owner: try $0.needText("owner"), host: try $0.needText("host"))
            }
            return snapshot
        }
    }

    // MARK: Recording

    /// Records a snapshot that this installation has made and verified.
    ///
    /// - Parameters:
    ///   - place: where it stands in a registry, by digest; nil for nowhere that is new.
    ///   - isHere: whether this installation's catalog has it.
    /// - Throws: `snapshotDamaged` when others know other bytes under the same key.
    package func record(_ snapshot: Snapshot, place: String?, isHere: Bool) async throws {
        let now = "\(millisecondsNow())"
        let verity = try snapshot.verity.map { String(decoding: try JSONEncoder().encode($0), as: UTF8.self) }
        var statements: [SharedDatabase.Statement] = [
            .init(
                """
                INSERT INTO shared_snapshots (key, id, image, manifest_digest, platform, sha256, uuid, size, entries,
                    config, verity, source_date_epoch, run_id, made_by, made_on, created_at)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8::bigint, $9::bigint, $10, $11, $12::bigint, $13, $14, $15,
                    $16::bigint)
                ON CONFLICT (key) DO UPDATE SET key = excluded.key
                """,
                [
                    snapshot.key, snapshot.id, snapshot.image, snapshot.manifestDigest, snapshot.platform,
                    snapshot.sha256, snapshot.uuid, "\(snapshot.size)", "\(snapshot.entries)", snapshot.config, verity,
                    snapshot.sourceDateEpoch.map { "\($0)" }, snapshot.runID ?? "", owner, host,
                    "\(snapshot.createdAt)",
                ]),
            .init(
                "SELECT sha256, made_on, run_id FROM shared_snapshots WHERE key = $1 AND sha256 <> $2",
                [snapshot.key, snapshot.sha256]),
        ]
        if isHere { statements.append(copy(of: snapshot, now)) }
        if let place {
            statements.append(
                .init(
                    """
                    INSERT INTO shared_places (key, reference, noted_at)
                    SELECT $1, $2, $3::bigint FROM shared_snapshots WHERE key = $1 AND sha256 = $4 FOR KEY SHARE
                    ON CONFLICT (key, reference) DO UPDATE SET noted_at = excluded.noted_at
                    """, [snapshot.key, place, now, snapshot.sha256]))
        }
        if let other = try await perform(statements)[1].first {
            throw SnapshotError(
                .snapshotDamaged,
                """
                \(other.text("made_on") ?? "?") recorded other bytes under the key of \(snapshot.id) (run \
                \(other.text("run_id") ?? "?"), SHA-256 \(other.text("sha256") ?? "?")): one of the two is not what it \
                says. Look at the one here: snapwf snapshots verify \(snapshot.id)
                """)
        }
    }

    /// Says that the file is here, of a snapshot that is recorded with the same bytes.
    package func noteCopy(of snapshot: Snapshot) async throws {
        _ = try await perform([copy(of: snapshot, "\(millisecondsNow())")])
    }

    private func copy(of snapshot: Snapshot, _ now: String) -> SharedDatabase.Statement {
        .init(
            """
            INSERT INTO shared_copies (key, owner, host, noted_at)
            SELECT $1, $2, $3, $4::bigint FROM shared_snapshots WHERE key = $1 AND sha256 = $5 FOR KEY SHARE
            ON CONFLICT (key, owner) DO UPDATE SET host = excluded.host
            """, [snapshot.key, owner, host, now, snapshot.sha256])
    }

    /// Says that the files are here no more. What nobody has, and no registry, is forgotten.
    package func forgetCopies(ofKeys keys: [String]) async throws {
        for key in keys {
            _ = try await perform([
                // Whoever records a copy or a place meanwhile is waited for, and is seen then.
                .init("SELECT 1 AS one FROM shared_snapshots WHERE key = $1 FOR UPDATE", [key]),
                .init("DELETE FROM shared_copies WHERE key = $1 AND owner = $2", [key, owner]),
                .init(
                    """
                    DELETE FROM shared_snapshots WHERE key = $1
                        AND NOT EXISTS (SELECT 1 FROM shared_copies WHERE key = $1)
                        AND NOT EXISTS (SELECT 1 FROM shared_places WHERE key = $1)
                    """, [key]),
            ])
        }
    }

    /// Brings what is recorded of this installation in line with what its catalog has: what a crash, a removal while the
    /// server was away, or a move to this store left out.
    ///
    /// - Parameter here: gives all that the catalog has, with files that are there. Asked after the records were read:
    ///   what a run records meanwhile is in no danger.
    /// - Returns: how many records were added or taken away, and what is wrong with single snapshots.
    /// - Throws: where nothing can be recorded at all.
    package func reconcile(
        with here: () async throws -> [Snapshot]
    ) async throws -> (changed: Int, problems: [SnapshotError]) {
        let rows = try await perform([.init("SELECT key FROM shared_copies WHERE owner = $1", [owner])])[0]
        let recorded = Set(rows.compactMap { $0.text("key") })
        // What was pulled by hand is nobody's word but the registry's.
        let made = try await here().filter { $0.runID != nil }
        let missing = made.filter { !recorded.contains($0.key) }
        var problems: [SnapshotError] = []
        for snapshot in missing {
            let place = snapshot.artifacts.last { $0.way == .pushed }?.reference
            do {
                try await record(snapshot, place: place, isHere: true)
            } catch let error as SnapshotError where error.code == .snapshotDamaged {
                problems.append(error)
            }
        }
        let gone = recorded.subtracting(made.map(\.key)).sorted()
        try await forgetCopies(ofKeys: gone)
        try await forgetOldTurns()
        return (missing.count - problems.count + gone.count, problems)
    }

    // MARK: Installations

    /// Notes this installation, before it makes a sandbox that others may see.
    package func noteInstallation() async throws {
        _ = try await perform([
            .init(
                """
                INSERT INTO shared_installations (owner, host, noted_at) VALUES ($1, $2, $3::bigint)
                ON CONFLICT (owner) DO UPDATE SET host = excluded.host, noted_at = excluded.noted_at
                """, [owner, host, "\(millisecondsNow())"])
        ])
    }

    /// The installations of this store that may have sandboxes elsewhere.
    package func installations() async throws -> Set<String> {
        Set(try await perform([.init("SELECT owner FROM shared_installations")])[0].compactMap { $0.text("owner") })
    }

    // MARK: Errors

    func perform(_ statements: [SharedDatabase.Statement]) async throws -> [[SharedDatabase.Row]] {
        do {
            return try await database.perform(statements)
        } catch let error as WorkflowError {
            switch error.code {
            // Whoever only looks finds nothing where nothing was ever recorded.
            case .noStore: return statements.map { _ in [] }
            case .storeUnavailable, .storeBusy:
                throw SnapshotError(.unavailable, "the shared catalog: \(error)", retryable: true)
            default: throw SnapshotError(.catalog, "the shared catalog: \(error)")
            }
        }
    }
}
