import HelperInterface
import OCI
import Workflow

/// What a run makes of the shared catalog before it makes a sandbox.
enum ConversionTurn: String, Codable, Sendable {
    /// The snapshot is to be made by this run.
    case make
    /// Another one has made it, and a registry has the bytes.
    case fetch
}

/// Waits while another run makes the same snapshot where the result can travel, so that it is made once.
///
/// Whoever makes it holds the turn of its key. When the holder dies, its turn ends with its term, and one of those that wait
/// gets it. Two may make the same at once all the same, as when one was stopped for longer than the term: they make the same
/// bytes.
struct TurnStep {
    let environment: SnapshotEnvironment
    let shared: SharedCatalog
    let key: String
    let runID: String
    /// Whether others can have what this run makes; else it takes no turn, and waits for others' all the same.
    let travels: Bool
    /// Told once of each that is waited for.
    let onWait: @Sendable (String) async throws -> Void

    static func name(ofKey key: String) -> String { "convert " + key }

    func run() async throws -> ConversionTurn {
        var waitedFor: String?
        while true {
            if try await isMade() { return .fetch }
            let holder: String
            if travels {
                switch try await turn() {
                case .mine(let turn):
                    // It may have been made between the look and the turn.
                    guard try await isMade() else { return .make }
                    await turn.end()
                    return .fetch
                case .held(let by): holder = by
                }
            } else {
                guard let by = try await shared.holderOfTurn(Self.name(ofKey: key)) else {
                    return try await isMade() ? .fetch : .make
                }
                holder = by
            }
            if waitedFor != holder {
                waitedFor = holder
                try await onWait(holder)
            }
            try await Task.sleep(for: .milliseconds(Int.random(in: 300...700)))
        }
    }

    func turn() async throws -> SharedCatalog.TurnAnswer {
        // Of the run, not of the process: one that is resumed goes on with its own turn.
        try await shared.turn(
            Self.name(ofKey: key), holder: runID, about: "run \(runID) on \(shared.host)", logger: environment.logger)
    }

    private func isMade() async throws -> Bool {
        if try await shared.snapshot(forKey: key)?.places.isEmpty == false { return true }
        return try await environment.catalog.snapshot(forKey: key) != nil
    }
}

/// Brings here what another installation has made.
struct FetchStep {
    /// What came of it.
    struct Output: Codable, Sendable {
        var snapshot: RegisteredSnapshot?
        /// Why it has to be made here.
        var problem: String?
    }

    let environment: SnapshotEnvironment
    let request: SnapshotRequest
    let shared: SharedCatalog
    let key: String
    /// Which attempt it is. A place that does not answer is believed to be gone from the third on.
    let attempt: Int

    func run() async throws -> Output {
        try await translatingErrors {
            if let own = try await environment.catalog.snapshot(forKey: key) {
                return Output(snapshot: RegisteredSnapshot(own, warnings: []))
            }
            guard let record = try await shared.snapshot(forKey: key) else {
                return Output(problem: "it was forgotten meanwhile")
            }
            let snapshot: Snapshot
            do {
                snapshot = try await fetch(record)
            } catch let error as SnapshotError
                where Self.isOfThePlace(error.code) && (!error.isRetryable || attempt >= Self.attempts)
            {
                return Output(problem: error.message)
            }
            environment.probe("fetch:registered.after")
            try await shared.noteCopy(of: snapshot)
            var registered = RegisteredSnapshot(snapshot, warnings: [])
            registered.pushedTo = record.places.first?.reference
            return Output(snapshot: registered)
        }
    }

    /// What the place lacks can be made here; a full disk here cannot.
    private static func isOfThePlace(_ code: SnapshotError.Code) -> Bool {
        [.imageNotFound, .snapshotNotFound, .badImage, .snapshotDamaged, .credentials, .unavailable].contains(code)
    }

    private static let attempts = 3

    private func fetch(_ record: SharedSnapshot) async throws -> Snapshot {
        let environment = environment
        return try await environment.catalog.fetch(
            record, logger: environment.logger,
            progress: { environment.onProgress(PullProgress(phase: $0, bytes: $1, total: $2)) },
            connect: { try environment.imageSources(for: request, cache: $0) })
    }
}

/// Makes a snapshot of this installation's catalog known to the others.
struct ShareStep {
    let environment: SnapshotEnvironment
    let shared: SharedCatalog
    let key: String
    /// By digest, where it was pushed.
    let place: String?

    func run() async throws {
        try await translatingErrors {
            guard let snapshot = try await environment.catalog.snapshot(forKey: key) else {
                // The one that made it on another machine may have told them before this one took the run over.
                if try await shared.snapshot(forKey: key) != nil { return }
                throw SnapshotError(
                    .failed, "the snapshot was removed before others could be told of it; run again")
            }
            environment.probe("share:before")
            try await shared.record(snapshot, place: place, isHere: true)
            environment.probe("share:after")
        }
    }
}

extension SnapshotRequest {
    /// Whether a place is one where others look for what this request makes: any, where it does not say.
    func isSharing(_ reference: String) -> Bool {
        sharesTo.map { reference.hasPrefix($0 + "@") || reference.hasPrefix($0 + ":") } ?? true
    }

    /// Where the snapshot of a key is pushed to: what was asked for, else a tag of its own where all are pushed to.
    func pushReference(forKey key: String) -> String? {
        push ?? sharesTo.map { "\($0):snap-\(key.prefix(16))" }
    }
}
