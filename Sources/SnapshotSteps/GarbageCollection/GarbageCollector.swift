import Sandbox
package import Workflow

/// Ends what runs left behind: sandboxes nobody will come back for, entries of the ledger, half-made directories.
///
/// It looks at both sides, the ledger and what the provider lists; acts only on what carries this installation's owner
/// id; holds a run's lock while it touches what belongs to the run; and takes a second look right before it kills.
/// Where installations share a store, one of them at a time looks after the sandboxes of all at the places that it reaches:
/// only of runs that the store knows, and never at a place of this machine that is another installation's.
///
/// A lock that is a lease can end while this process is stopped. So what is to be killed is recorded as about to end, under
/// the run's epoch, right before: where the run was taken over that fails, and afterwards nobody uses it any more, however
/// late the kill comes.
///
/// Safe from cron, at the same time as runs and as itself. An incomplete list stops it.
package struct GarbageCollector: Sendable {
    private let environment: SnapshotEnvironment
    private let engine: Engine
    /// How long an interrupted run keeps its sandbox.
    private let grace: Duration
    private let places: [SandboxPlace]
    /// Which snapshots go; nil for none.
    private let retention: SnapshotRetention?
    /// Other stores that may hold runs of this installation, as people call them.
    private let otherStores: [String]
    /// Other installations of the store, after whose sandboxes it looks, too.
    private let others: Set<String>
    /// Had as long as those of others are looked after.
    private let turn: SharedTurn?

    package static let defaultGrace = Duration.seconds(15 * 60)
    /// The label of a run that names its place; without one it is this machine.
    package static let placeLabel = "place"

    /// - Parameters:
    ///   - places: where to look, this machine included.
    ///   - retention: which snapshots of the catalog go; nil for none.
    ///   - otherStores: while there is one, a run that this store does not know may be in it.
    ///   - others: the other installations of the store, where this one has the turn to look after theirs.
    package init(
        environment: SnapshotEnvironment, engine: Engine, places: [SandboxPlace] = [.local],
        grace: Duration = defaultGrace, retention: SnapshotRetention? = nil, otherStores: [String] = [],
        others: Set<String> = [], turn: SharedTurn? = nil
    ) {
        self.others = others.subtracting([environment.owner])
        self.turn = turn
        self.otherStores = otherStores
        self.retention = retention
        self.environment = environment
        self.engine = engine
        self.places = places
        self.grace = grace
    }

    /// What there is to remove now. Changes nothing.
    ///
    /// A place that does not answer is named in the plan, and the others are planned all the same.
    package func plan() async throws -> GarbagePlan {
        var plan = GarbagePlan()
        var listed: [SandboxPlace: [SandboxInfo]] = [:]
        for place in places {
            do {
                let provider = try environment.at(place).provider
                let sandboxes = try await provider.list().filter {
                    isOurs($0, at: place) && leavesSomething($0, provider)
                }
                if sandboxes.isEmpty, place != .local { plan.idle.append(place) }
                listed[place] = sandboxes
                try await self.plan(sandboxes, at: place, into: &plan)
            } catch is CancellationError {
                throw CancellationError()
            } catch {
                let reason = SnapshotError.translating(error)
                plan.unseen.append(
                    UnseenPlace(
                        place: place, error: reason as? SnapshotError ?? SnapshotError(.unavailable, "\(reason)")))
            }
        }
        for entry in try await engine.resources(states: [.intended, .held, .releasing]) {
            guard let place = try await place(of: entry.runID), let seen = listed[place] else { continue }
            // Another installation's sandboxes are among those that were listed only where the place is the same for all.
            if try await isElsewhere(entry.runID), !(try await isListed(entry.runID, at: place)) { continue }
            if seen.contains(where: { isAbout(entry, $0) }) { continue }
            if case .remove(let reason) = try await verdict(on: entry.runID) {
                plan.items.append(
                    .init(
                        id: entry.externalID ?? entry.key.idempotencyKey, subject: .ledgerEntry(entry, at: place),
                        reason: "the sandbox is gone, and \(reason)"))
            }
        }
        if let retention { try await self.plan(retention, into: &plan) }
        for directory in try await environment.catalog.unregistered() {
            switch try await verdict(on: directory) {
            case .keep(let reason): plan.kept.append(.init(kind: .directory, id: directory.path, reason: reason))
            case .remove(let reason):
                plan.items.append(.init(id: directory.path, subject: .directory(directory), reason: reason))
            }
        }
        return plan
    }

    private func plan(_ retention: SnapshotRetention, into plan: inout GarbagePlan) async throws {
        let catalog = environment.catalog
        let all = try await catalog.snapshots().sorted { ($0.lastUsedAt, $0.id) > ($1.lastUsedAt, $1.id) }
        for (rank, snapshot) in all.enumerated() {
            let verdict = retention.verdict(
                on: snapshot, rank: rank, holders: try await catalog.holders(of: snapshot), now: millisecondsNow())
            switch verdict {
            case .keep(let reason): plan.kept.append(.init(kind: .snapshot, id: snapshot.id, reason: reason))
            case .remove(let reason):
                plan.items.append(.init(id: snapshot.id, subject: .snapshot(snapshot), reason: reason))
            }
        }
    }

    private func plan(
        _ sandboxes: [SandboxInfo], at place: SandboxPlace, into plan: inout GarbagePlan
    ) async throws {
        for sandbox in sandboxes {
            switch try await verdict(on: sandbox) {
            case .keep(let reason): plan.kept.append(.init(kind: .sandbox, id: sandbox.id.rawValue, reason: reason))
            case .remove(let reason):
                plan.items.append(
                    .init(
                        id: sandbox.id.rawValue, subject: .sandbox(sandbox.id, at: place, run: runID(of: sandbox)),
                        reason: reason))
            }
        }
    }

    /// Whether an installation has the run that may still come back for its sandbox.
    private func isElsewhere(_ run: RunID) async throws -> Bool {
        guard let run = try await engine.run(run), run.isElsewhere(than: environment.owner) else { return false }
        return millisecondsNow() - milliseconds(run.updatedAt) <= Self.longestLife
    }

    /// Whether what becomes of a sandbox that was listed becomes of the entry, too.
    private func isAbout(_ entry: ResourceRecord, _ sandbox: SandboxInfo) -> Bool {
        entry.isOf(sandbox) && (entry.externalID != nil || runID(of: sandbox) == entry.runID)
    }

    /// Whether the sandboxes of a run of another installation are among those that this one lists at a place.
    private func isListed(_ run: RunID, at place: SandboxPlace) async throws -> Bool {
        guard place.isSameEverywhere, let owner = try await engine.run(run)?.owner else { return false }
        return others.contains { Executor.description(owner: $0) == owner.description }
    }

    /// - Returns: nil when the place is none of those that are looked at.
    private func place(of run: RunID) async throws -> SandboxPlace? {
        let name = try await engine.run(run)?.labels[Self.placeLabel] ?? SandboxPlace.local.description
        return places.first { $0.description == name }
    }

    /// Forgets places at which nothing of ours can be: seen whole and empty, or not seen for longer than any sandbox lives;
    /// and named by no unfinished run and no open entry of the ledger.
    package func forgetIdle(_ plan: GarbagePlan) async throws {
        guard otherStores.isEmpty else { return }
        for place in plan.idle where try await isDone(with: place) {
            // The plan was made before other things were ended; a run may have come and gone meanwhile.
            let provider = try environment.at(place).provider
            if try await provider.list().contains(where: { isOurs($0, at: place) && $0.state.isAlive }) { continue }
            try environment.state.forget(place)
        }
        for unseen in plan.unseen where try await isDone(with: unseen.place) {
            let last = try await engine.runs(
                RunQuery(labels: [Self.placeLabel: unseen.place.description], limit: 1)
            ).first
            let idle = last.map { millisecondsNow() - milliseconds($0.updatedAt) } ?? .max
            if idle > Self.longestLife { try environment.state.forget(unseen.place) }
        }
    }

    /// In milliseconds: a day, which is the longest time to live of the API, and one more.
    private static let longestLife: Int64 = 2 * 86_400_000

    private func isDone(with place: SandboxPlace) async throws -> Bool {
        let unfinished = try await engine.runs(
            RunQuery(
                statuses: [.pending, .running, .sleeping, .interrupted],
                labels: [Self.placeLabel: place.description], limit: 1))
        guard unfinished.isEmpty else { return false }
        for entry in try await engine.resources(states: [.intended, .held, .releasing]) {
            if try await self.place(of: entry.runID) == place { return false }
        }
        return true
    }

    /// Removes what a plan names, each after a second look.
    package func execute(_ plan: GarbagePlan) async -> [GarbageOutcome] {
        var outcomes: [GarbageOutcome] = []
        for item in plan.items {
            let result: GarbageOutcome.Result
            do {
                result = try await execute(item)
            } catch let error as Spared {
                result = .spared(error.reason)
            } catch let error as WorkflowError where error.code == .takenOver {
                result = .spared("its run was taken over in this moment")
            } catch {
                result = .failed("\(error)")
            }
            outcomes.append(GarbageOutcome(item: item, result: result))
        }
        return outcomes
    }

    /// A second look found that something is in use.
    private struct Spared: Error {
        let reason: String
    }

    private func execute(_ item: GarbagePlan.Item) async throws -> GarbageOutcome.Result {
        switch item.subject {
        case .sandbox(let id, let place, let run):
            let provider = try environment.at(place).provider
            return try await holding(run) { claimed in
                guard let sandbox = try await provider.get(id) else { return }
                guard isOurs(sandbox, at: place), runID(of: sandbox) == run else { return }
                try requireTurn(for: sandbox)
                let entries = (claimed?.resources ?? []).filter { $0.state.isOpen && $0.isOf(sandbox) }
                for entry in entries { try await claimed?.markReleasing(entry) }
                if entries.isEmpty { try await claimed?.confirm("sandbox \(id)") }
                environment.probe("gc:releasing.after")
                try await provider.kill(id)
                for entry in entries { try await claimed?.markReleased(entry) }
            }
        case .ledgerEntry(let entry, let place):
            let provider = try environment.at(place).provider
            return try await holding(entry.runID) { claimed in
                // Where its sandbox was found and ended just now, the entry was closed with it.
                let isOpen = claimed.map { run in
                    run.resources.contains { $0.key.idempotencyKey == entry.key.idempotencyKey && $0.state.isOpen }
                }
                guard isOpen ?? true else { return }
                try await claimed?.markReleasing(entry)
                // An intended entry without an id may have made a sandbox that only its labels name.
                let labels = [
                    SandboxLabel.run: entry.runID.description, SandboxLabel.generation: "\(entry.generation)",
                ]
                for sandbox in try await provider.find(labels: labels)
                where isOurs(sandbox, at: place) && leavesSomething(sandbox, provider) {
                    try requireTurn(for: sandbox)
                    try await provider.kill(sandbox.id)
                }
                try await claimed?.markReleased(entry)
            }
        case .snapshot(let snapshot):
            let names: [String]? = retention?.includesNamed == true ? nil : []
            do {
                try await environment.catalog.remove(
                    snapshot, if: .init(names: names, lastUsedAt: snapshot.lastUsedAt))
            } catch let error as SnapshotError where [.snapshotInUse, .snapshotNotFound].contains(error.code) {
                throw Spared(reason: error.message)
            }
            return .removed
        case .directory(let directory):
            return try await holding(directory.kind.run.flatMap(RunID.init)) { claimed in
                if environment.shared != nil { try await claimed?.confirm("directory \(directory.path)") }
                guard try await environment.catalog.remove(directory) else {
                    throw Spared(reason: "it changed meanwhile, or somebody works in it")
                }
            }
        }
    }

    /// Runs `body` while the run is ours, unless it came back to life. A run this store does not know has no lock.
    private func holding(
        _ run: RunID?, _ body: @Sendable (ClaimedRun?) async throws -> Void
    ) async throws -> GarbageOutcome.Result {
        guard let run, try await engine.run(run) != nil else {
            try await body(nil)
            return .removed
        }
        let isDone: Bool? = try await engine.withAbandonedRun(run) { claimed in
            // The lock is ours: the record can no longer change, so this look is the last word.
            if case .keep = Verdict(
                run: claimed.record, isClaimed: true, now: millisecondsNow(), grace: graceMilliseconds)
            {
                return false
            }
            try await body(claimed)
            return true
        }
        return isDone == true ? .removed : .spared("its run is alive")
    }

    private var graceMilliseconds: Int64 { Int64(grace / .milliseconds(1)) }

    /// An ended sandbox leaves its files where they are files of this host; elsewhere it is only remembered.
    private func leavesSomething(_ sandbox: SandboxInfo, _ provider: any SandboxProvider) -> Bool {
        sandbox.state.isAlive || provider.capabilities.hostFiles
    }

    /// Of this installation; or of another one of the store, at a place that is not this installation's alone.
    private func isOurs(_ sandbox: SandboxInfo, at place: SandboxPlace) -> Bool {
        guard let owner = sandbox.labels[SandboxLabel.owner] else { return false }
        return owner == environment.owner || (place.isElsewhere && others.contains(owner))
    }

    /// Who was stopped for too long leaves what is others' to whoever has the turn now.
    private func requireTurn(for sandbox: SandboxInfo) throws {
        guard sandbox.labels[SandboxLabel.owner] != environment.owner, let turn, !turn.isHeld else { return }
        throw Spared(reason: "this gc was stopped for so long that another one may be at work")
    }

    private func verdict(on sandbox: SandboxInfo) async throws -> Verdict {
        let run = runID(of: sandbox)
        if sandbox.labels[SandboxLabel.owner] != environment.owner {
            // Its installation may have other stores: only it can say what a run is that is not in this one.
            guard let run, try await engine.run(run) != nil else {
                return .keep("it is another installation's, and this store does not know its run")
            }
        }
        return try await verdict(on: run)
    }

    private func runID(of sandbox: SandboxInfo) -> RunID? {
        sandbox.labels[SandboxLabel.run].flatMap(RunID.init)
    }

    private func verdict(on run: RunID?) async throws -> Verdict {
        guard let run else { return .remove("its label names no run") }
        let record = try await engine.run(run)
        if record == nil, let other = otherStores.first {
            return .keep("this store does not know its run, which may be in another one: \(other)")
        }
        return Verdict(run: record, now: millisecondsNow(), grace: graceMilliseconds)
    }

    private func verdict(on directory: Catalog.UnregisteredDirectory) async throws -> Verdict {
        let age = millisecondsNow() - directory.modifiedAt
        switch directory.kind {
        case .incoming(let run):
            let verdict = try await verdict(on: RunID(run))
            guard case .remove(let reason) = verdict else { return verdict }
            return .remove("a registration was not finished, and \(reason)")
        case .whole(let run):
            return try await verdict(onWhole: directory, run: run)
        case .pull:
            if try await environment.catalog.isGathering(directory) { return .keep("a pull is at work") }
            // Whoever pulls again goes on with what is there.
            return age > 86_400_000
                ? .remove("a pull was given up more than a day ago") : .keep("a pull may be gone on with")
        case .removed: return .remove("its removal was not finished")
        case .other:
            // Between the rename and the row stands no more than one commit: an hour is far beyond that.
            return age > 3_600_000
                ? .remove("it belongs to no snapshot") : .keep("it belongs to no snapshot, and is young")
        }
    }

    /// A whole snapshot without a row: its run died between the rename and the row, or the database was lost.
    private func verdict(onWhole directory: Catalog.UnregisteredDirectory, run: String?) async throws -> Verdict {
        if let run = run.flatMap(RunID.init), let record = try await engine.run(run), record.status != .succeeded {
            let verdict = Verdict(run: record, now: millisecondsNow(), grace: graceMilliseconds)
            guard case .remove(let reason) = verdict else { return verdict }
            return .remove("its registration was not finished, and \(reason)")
        }
        let name = directory.path.split(separator: "/").last ?? ""
        return .keep("a whole snapshot that the catalog does not know: snapwf snapshots adopt \(name)")
    }
}

extension ResourceRecord {
    /// Whether the entry is about a sandbox: by its id, or where none was recorded by the generation that it says it is.
    fileprivate func isOf(_ sandbox: SandboxInfo) -> Bool {
        externalID.map { $0 == sandbox.id.rawValue } ?? (sandbox.labels[SandboxLabel.generation] == "\(generation)")
    }
}

extension SandboxPlace {
    /// Whether sandboxes there can be other installations', too.
    fileprivate var isElsewhere: Bool {
        if case .api = self { true } else { false }
    }

    /// Whether the address means the same on every machine.
    fileprivate var isSameEverywhere: Bool {
        guard case .api(let url, _) = self else { return false }
        return !["unix:", "://127.", "://localhost", "://[::1]"].contains { url.contains($0) }
    }
}

extension Catalog.UnregisteredDirectory.Kind {
    /// The run whose lock is held while such a directory is removed.
    fileprivate var run: String? {
        switch self {
        case .incoming(let run): run
        case .whole(let run): run
        case .pull, .removed, .other: nil
        }
    }
}
