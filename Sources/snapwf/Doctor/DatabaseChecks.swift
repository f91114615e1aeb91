import Files
import FoundationEssentials
import Glibc
import HelperInterface
import SnapshotSteps
import Workflow

/// The two databases and the library that reads them.
enum DatabaseChecks {
    private static let runs = "runs database"
    private static let catalog = "catalog"
    private static let snapshots = "snapshots"
    /// A store that needs longer is to be checked when there is time. Less than the doctor has for a check.
    private static let patience = Duration.seconds(9)

    static func runsDatabase(_ place: RunsPlace) async -> [Finding] {
        let path = place.text
        do {
            let found = try await within(patience) { () -> [Finding] in
                let reader = try await StoreReader(store: place.configuration)
                let problems = try await reader.checkIntegrity()
                let locks = await fileLocks(reader)
                let newest = problems.isEmpty ? try await reader.runs(RunQuery(limit: 1)).first : nil
                let standing = problems.isEmpty ? try await reader.standing() : nil
                await reader.close()
                if let standing, standing.state != .open {
                    return [SharedStoreChecks.store(path, standing, StoreFigures())] + locks
                }
                let sizes = Sizes(database: fileSize(path), log: fileSize(path + "-wal"))
                return [runsDatabase(path, problems: problems, sizes)] + locks
                    + [clock(now: Date(), newest: newest?.createdAt)]
            }
            return found ?? [unfinished(runs, path)]
        } catch let error as WorkflowError {
            return [runsDatabase(path, error)]
        } catch {
            return [.fail(runs, "\(error)", next: "look at \(path)")]
        }
    }

    struct Sizes {
        let database: UInt64
        let log: UInt64
    }

    static func runsDatabase(_ path: String, problems: [String], _ sizes: Sizes) -> Finding {
        if let damage = damage(problems) {
            return .fail(runs, "\(path) is damaged: \(damage)", next: moveAway(path))
        }
        let size = "\(byteCountText(sizes.database)), its log \(byteCountText(sizes.log))"
        guard sizes.log < 64 << 20 else {
            return .warn(
                runs, "sound, but the log is long: \(size)",
                next: "end what reads the database for long; the next run then moves the log")
        }
        return .ok(runs, "sound, its schema is this version's; \(size)")
    }

    static func runsDatabase(_ path: String, _ error: WorkflowError) -> Finding {
        switch error.code {
        case .noStore: .ok(runs, "not there yet; the first run makes it")
        case .storeNeedsMigration: .warn(runs, error.description, next: "snapwf gc --dry-run")
        case .storeNewerThanProgram:
            .fail(runs, error.description, next: "upgrade snapwf, or SNAPWF_HOME=/path snapwf …")
        case .storeCorrupt: .fail(runs, error.description, next: moveAway(path))
        case .storeBusy: .fail(runs, error.description, next: "fuser -v \(path)")
        default: .fail(runs, error.description, next: "ls -l \(parentDirectory(of: path))")
        }
    }

    /// Due times, ages and certificates go by the clock; one that went back shows in what is recorded.
    ///
    /// - Parameter newest: when the newest run began.
    static func clock(now: Date, newest: Date?) -> Finding {
        let name = "clock"
        guard let newest, newest.timeIntervalSince(now) > 60 else { return .ok(name, localTime(now)) }
        return .warn(
            name, "\(localTime(now)), but the newest run began at \(localTime(newest)): the clock went back",
            next: "timedatectl status")
    }

    private static func fileLocks(_ reader: StoreReader) async -> [Finding] {
        do {
            guard try await reader.checkLocks() else { return [] }
            return [.ok("file locks", "the file system keeps them")]
        } catch {
            return [.fail("file locks", "\(error)", next: "SNAPWF_HOME=/path/on/a/local/disk snapwf …")]
        }
    }

    static func catalogDatabase(_ state: StateDirectory) async -> [Finding] {
        do {
            let found = try await within(patience) { () -> Finding in
                guard let problems = try await Catalog.problems(in: state) else {
                    return .ok(catalog, "not there yet; the first run makes it")
                }
                return catalogDatabase(state, problems: problems, size: fileSize(state.catalogDatabase))
            }
            return [found ?? unfinished(catalog, state.catalogDatabase)]
        } catch let error as SnapshotError where error.isRetryable {
            return [.warn(catalog, "\(error)", next: "snapwf gc --dry-run, and then again: snapwf doctor")]
        } catch {
            return [.fail(catalog, "\(error)", next: "ls -l \(state.path)")]
        }
    }

    static func catalogDatabase(_ state: StateDirectory, problems: [String], size: UInt64) -> Finding {
        guard let damage = damage(problems) else { return .ok(catalog, "sound; \(byteCountText(size))") }
        return .fail(
            catalog, "\(state.catalogDatabase) is damaged: \(damage)",
            next: moveAway(state.catalogDatabase) + ", and take the snapshots in again: snapwf snapshots adopt --all")
    }

    /// How many snapshots that do not fit are named; the others are counted.
    private static let named = 10

    static func store(_ state: StateDirectory) async -> [Finding] {
        do {
            let found = try await within(patience) { store(state, try await Catalog.audit(in: state)) }
            return found ?? [.warn(snapshots, "not looked through in time", next: "snapwf snapshots verify --all")]
        } catch let error as SnapshotError where [.catalog, .catalogNewerThanProgram].contains(error.code) {
            // The finding about the catalog says it.
            return []
        } catch {
            return [.warn(snapshots, "\(error)", next: "ls -l \(state.snapshots)")]
        }
    }

    static func store(_ state: StateDirectory, _ audit: CatalogAudit) -> [Finding] {
        var findings = audit.broken.prefix(named).map { broken in
            Finding.warn(snapshots, "\(broken.id): \(broken.problem)", next: "snapwf snapshots verify \(broken.id)")
        }
        findings += audit.unknown.prefix(named).map { id in
            Finding.warn(
                snapshots, "\(id) is whole, and the catalog does not know it", next: "snapwf snapshots adopt \(id)")
        }
        let rest = audit.broken.count + audit.unknown.count - findings.count
        if rest > 0 { findings.append(.warn(snapshots, "and \(rest) more", next: "snapwf snapshots verify --all")) }
        if findings.isEmpty {
            findings.append(
                .ok(snapshots, "\(audit.snapshots), each with its file (their content: snapwf snapshots verify --all)"))
        }
        return findings
    }

    static func sqlite(version: String, hasWALResetBug: Bool) -> Finding {
        let bug =
            hasWALResetBug
            ? " has the WAL-reset bug (3.7.0 to 3.51.2); snapwf guards against it, but write to workflow.db with no other "
                + "program while one is at work"
            : ""
        return .ok("SQLite", version + bug)
    }

    private static func damage(_ problems: [String]) -> String? {
        guard let first = problems.first else { return nil }
        // SQLite puts a heading before what it found.
        let text = first.hasPrefix("***") && problems.count > 1 ? problems[1] : first
        return problems.count > 1 ? "\(text) (and more: \(problems.count) lines in all)" : text
    }

    private static func moveAway(_ path: String) -> String {
        let damaged = parentDirectory(of: path) + "/damaged"
        return "move it away when no run is at work: mkdir \(damaged) && mv \(path)* \(damaged)/"
    }

    private static func unfinished(_ name: String, _ path: String) -> Finding {
        .warn(
            name, "not checked through within \(spanText(patience))",
            next: "sqlite3 -readonly \(path) 'PRAGMA integrity_check'")
    }

    private static func fileSize(_ path: String) -> UInt64 {
        var info = stat()
        return stat(path, &info) == 0 ? UInt64(max(info.st_size, 0)) : 0
    }
}
