import FoundationEssentials
import HelperInterface
import Logging
import OCI
import SnapshotSteps
import Workflow

/// The catalog, for verbs about snapshots: no engine is opened, and none is made where there is none.
enum RecordedSnapshots {
    static func state() throws -> StateDirectory {
        StateDirectory(reading: try Places.stateDirectory(ProcessInfo.processInfo.environment))
    }

    /// - Returns: `nil` where there never was a snapshot.
    static func open() throws -> Catalog? {
        let points = CrashPoints(ProcessInfo.processInfo.environment)
        return try Catalog.existing(in: try state()) { points?.pass($0) }
    }

    /// - Throws: `snapshotNotFound` where there never was a snapshot.
    static func require() throws -> Catalog {
        guard let catalog = try open() else { throw Catalog.noSnapshot }
        return catalog
    }

    /// The snapshot that a person means, and the catalog that has it.
    ///
    /// - Throws: `snapshotNotFound`; of one that is elsewhere it says where.
    static func find(_ text: String) async throws -> (catalog: Catalog, snapshot: Snapshot) {
        do {
            let catalog = try require()
            return (catalog, try await catalog.find(text))
        } catch let error as SnapshotError where error.code == .snapshotNotFound {
            // Only to say more: where the others cannot be asked, that it is not here is what counts.
            let found: SharedSnapshot?
            do {
                found = try await SharedRecords.find(text)?.snapshot
            } catch let several as SnapshotError where several.code == .snapshotNotFound {
                throw several
            } catch {
                found = nil
            }
            throw found?.isElsewhere ?? error
        }
    }
}

extension SharedSnapshot {
    /// What a verb says that needs the file.
    fileprivate var isElsewhere: SnapshotError {
        let place = places.first?.reference
        let bring =
            place.map { "bring it here: snapwf snapshots pull \($0)" }
            ?? "do it there, or push it from there: snapwf snapshots push \(id) REGISTRY/REPOSITORY:TAG"
        return SnapshotError(
            .snapshotNotFound,
            "snapshot \(id) is not on this machine: it is on \(hosts)\(place.map { " and in \($0)" } ?? ""); \(bring)")
    }
}

/// What other installations know of snapshots, where the store is shared: for verbs that open no engine. The store is the one
/// that the environment or the settings name.
enum SharedRecords {
    /// Those that are not among the keys, the oldest first; none where the store is not shared.
    static func elsewhere(than keys: Set<String>) async throws -> [SharedSnapshot] {
        try await with { try await $0.snapshots().filter { !keys.contains($0.key) } } ?? []
    }

    /// The snapshot that an id, a key, a SHA-256 or a prefix of one names, with its image config.
    ///
    /// - Returns: nil where the store is not shared or knows none.
    /// - Throws: `snapshotNotFound` where several begin so.
    static func find(_ text: String) async throws -> (snapshot: SharedSnapshot, config: String)? {
        try await with { shared -> (snapshot: SharedSnapshot, config: String)? in
            let found = try await shared.snapshots(prefix: text)
            guard let first = found.first else { return nil }
            guard found.count == 1 else {
                let some = found.prefix(4).map(\.id).joined(separator: ", ")
                throw SnapshotError(
                    .snapshotNotFound,
                    "\"\(text)\" names several snapshots (\(some)\(found.count > 4 ? "…" : "")); write more of it")
            }
            return (first, try await shared.config(ofKey: first.key) ?? "")
        } ?? nil
    }

    /// The snapshot that a person means, brought here if only others have it.
    @MainActor
    static func findOrFetch(_ text: String, _ reporter: RunReporter) async throws -> (Catalog, Snapshot) {
        let missing: SnapshotError
        do {
            let catalog = try RecordedSnapshots.require()
            return (catalog, try await catalog.find(text))
        } catch let error as SnapshotError where error.code == .snapshotNotFound {
            missing = error
        }
        guard let found = try await find(text) else { throw missing }
        let variables = ProcessInfo.processInfo.environment
        let points = CrashPoints(variables)
        let state = try StateDirectory(opening: try Places.stateDirectory(variables))
        let catalog = try Catalog(state: state) { points?.pass($0) }
        let snapshot = try await fetch(found.snapshot, into: catalog, reporter)
        do {
            _ = try await with(isReading: false, owner: try state.owner()) { try await $0.noteCopy(of: snapshot) }
        } catch {
            // It is here; gc notes that later.
            Logger(label: "snapwf").debug("the copy of \(snapshot.id) was not noted: \(error)")
        }
        return (catalog, snapshot)
    }

    /// Tells the others where a snapshot of this installation stands now. What was pulled by hand is nobody's word here.
    static func tell(of snapshot: Snapshot, place: String) async throws {
        guard snapshot.runID != nil else { return }
        _ = try await with(isReading: false, owner: try RecordedSnapshots.state().owner()) {
            try await $0.record(snapshot, place: place, isHere: true)
        }
    }

    /// Tells the others that files are not here any more.
    static func forget(keys: [String]) async throws {
        guard !keys.isEmpty else { return }
        _ = try await with(isReading: false, owner: try RecordedSnapshots.state().owner()) {
            try await $0.forgetCopies(ofKeys: keys)
        }
    }

    /// With the credentials that docker has, and the settings of registries.
    @MainActor
    static func fetch(
        _ shared: SharedSnapshot, into catalog: Catalog, _ reporter: RunReporter
    ) async throws -> Snapshot {
        reporter.note("\(shared.id) is not on this machine: fetching it", always: false)
        let settings = try settings()
        let logger = Logger(label: "snapwf")
        var options = RegistryOptions()
        options.plainHTTPHosts = Set(settings.values["plain-http"]?.texts ?? [])
        options.caFile = settings.values["ca-file"]?.texts.first
        options.proxyEnvironment = ProcessInfo.processInfo.environment
        options.userAgent = Version.userAgent
        let registries = options
        let credentials: any CredentialStore =
            settings.values["creds-file"]?.texts.first.map { DockerConfigCredentials.file($0) }
            ?? DockerConfigCredentials.dockerConfig(environment: ProcessInfo.processInfo.environment)
        return try await catalog.fetch(
            shared, logger: logger,
            progress: { reporter.show(PullProgress(phase: $0, bytes: $1, total: $2)) },
            connect: { ImageSources(options: registries, credentials: credentials, cache: $0, logger: logger) })
    }

    private static func settings() throws -> Settings {
        try Settings(
            variables: ProcessInfo.processInfo.environment, directory: FileManager.default.currentDirectoryPath)
    }

    /// - Returns: nil where the store is not shared.
    private static func with<Value>(
        isReading: Bool = true, owner: String = "", _ body: (SharedCatalog) async throws -> Value
    ) async throws -> Value? {
        let place = try RunsPlace(try settings().values["store"]?.texts.first, in: RecordedSnapshots.state())
        guard place.configuration.isShared else { return nil }
        let shared = try SharedCatalog(store: place.configuration, owner: owner, isReading: isReading)
        do {
            let value = try await body(shared)
            await shared.close()
            return value
        } catch {
            await shared.close()
            throw error
        }
    }
}
