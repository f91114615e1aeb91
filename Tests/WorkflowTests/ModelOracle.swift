import Foundation

@testable import Workflow

/// What a store has to hold and answer, by the documented rules and without a database: the oracle of the model test.
struct ModelOracle: Sendable {
    /// The clock of both stores, in milliseconds.
    var now: Int64
    var runs: [RunID: ModelRun] = [:]
    var steps: [RunID: [ModelStep]] = [:]
    /// Of all runs, in the order in which they were intended.
    var resources: [ModelResource] = []
    var events: [RunID: [ModelEvent]] = [:]
    var eventKeys: [RunID: Set<String>] = [:]
    /// Which site holds a run, whether or not the run is still there.
    var holders: [RunID: Int] = [:]

    init(now: Int64) {
        self.now = now
    }

    static func owner(_ site: Int, now: Int64) -> RunOwner {
        RunOwner(
            description: "site \(site)", pid: Int32(site + 1), host: "model",
            since: Timestamp(milliseconds: now).date)
    }

    // MARK: - Runs

    mutating func create(_ new: ModelNewRun, site: Int) -> ModelAnswer {
        if holders[new.id] != nil { return .refused(.runHeld(by: nil)) }
        if let key = new.dedupKey, let other = runs.values.first(where: { $0.blocks(new.workflow, key) }) {
            return .existing(shown(other))
        }
        guard runs[new.id] == nil else { return .refused(.storeFailed) }
        runs[new.id] = ModelRun(
            id: new.id, workflow: new.workflow, version: 1, input: new.input, inputHash: Payload.hash(new.input),
            dedupKey: new.dedupKey, labels: new.labels, createdAt: now, deadlineAt: new.deadlineAt,
            recorded: .running, shown: .running, epoch: 1, owner: Self.owner(site, now: now), updatedAt: now)
        holders[new.id] = site
        happened(to: new.id, "run.started")
        return .created(epoch: 1)
    }

    mutating func claim(_ id: RunID, _ purpose: ModelPurpose, site: Int) -> ModelAnswer {
        guard var run = runs[id] else { return .unknown }
        if run.recorded.isFinished, purpose != .collection { return .finished(run.recorded) }
        if holders[id] != nil { return .held(by: run.owner) }
        holders[id] = site
        run.epoch += 1
        if purpose == .execution {
            run.recorded = .running
            run.wakeAt = nil
            run.owner = Self.owner(site, now: now)
            run.updatedAt = now
            happened(to: id, "run.resumed")
        }
        runs[id] = run
        return .claimed(shown(run), steps[id] ?? [], resources.filter { $0.run == id })
    }

    mutating func relinquish(_ id: RunID, site: Int) -> ModelAnswer {
        if holders[id] == site { holders[id] = nil }
        return .done
    }

    /// A process that dies or closes its store holds nothing any more.
    mutating func lose(_ site: Int) {
        holders = holders.filter { $0.value != site }
    }

    mutating func requestCancellation(_ id: RunID) -> ModelAnswer {
        guard let run = runs[id] else { return .refused(.unknownRun) }
        if run.recorded.isFinished { return .refused(.alreadyFinished(run.recorded)) }
        runs[id]?.cancelRequestedAt = run.cancelRequestedAt ?? now
        runs[id]?.updatedAt = now
        happened(to: id, "run.cancel_requested")
        return .done
    }

    mutating func delete(before cutoff: Int64, keep: Int) -> ModelAnswer {
        let finished = runs.values.filter { $0.finishedAt != nil }.sorted {
            ($0.finishedAt ?? 0, $0.id.description) > ($1.finishedAt ?? 0, $1.id.description)
        }
        let doomed = Set(
            finished.dropFirst(keep).filter { run in
                (run.finishedAt ?? 0) < cutoff && !resources.contains { $0.run == run.id && $0.state.isOpen }
            }.map(\.id))
        for id in doomed {
            runs[id] = nil
            steps[id] = nil
            events[id] = nil
            eventKeys[id] = nil
        }
        resources.removeAll { doomed.contains($0.run) }
        return .count(doomed.count)
    }

    mutating func happened(to id: RunID, _ kind: String) {
        events[id, default: []].append(ModelEvent(at: now, kind: kind))
    }

    // MARK: - Reading

    func shown(_ run: ModelRun) -> ModelRun {
        var run = run
        run.shown = run.recorded.isFinished || holders[run.id] != nil ? run.recorded : .interrupted
        return run
    }

    /// All runs, newest first.
    private var newestFirst: [ModelRun] {
        runs.values.sorted { $0.id > $1.id }.map(shown)
    }

    func run(_ id: RunID) -> ModelAnswer { .runs(runs[id].map { [shown($0)] } ?? []) }

    func runs(prefix: String) -> ModelAnswer {
        .runs(Array(newestFirst.filter { $0.id.description.hasPrefix(prefix) }.prefix(100)))
    }

    func runs(_ query: RunQuery) -> ModelAnswer {
        .runs(
            Array(
                newestFirst.filter { run in
                    (query.statuses?.contains(run.shown) ?? true)
                        && (query.workflow ?? run.workflow) == run.workflow
                        && (query.before.map { run.id < $0 } ?? true)
                        && query.labels.allSatisfy { run.labels[$0.key] == $0.value }
                }.prefix(query.limit)))
    }

    func cancellationRequests() -> ModelAnswer {
        .ids(Set(runs.values.filter { $0.cancelRequestedAt != nil && !$0.recorded.isFinished }.map(\.id)))
    }

    func steps(of id: RunID) -> ModelAnswer { .steps(steps[id] ?? []) }

    func resources(of id: RunID) -> ModelAnswer { .resources(resources.filter { $0.run == id }) }

    func resources(states: Set<ResourceRecord.State>) -> ModelAnswer {
        .resources(resources.filter { states.contains($0.state) })
    }

    func events(of id: RunID, skipping count: Int, limit: Int) -> ModelAnswer {
        .events(Array((events[id] ?? []).dropFirst(count).prefix(limit)))
    }
}

extension ModelRun {
    /// Whether no other run may have the key: it lives or succeeded.
    fileprivate func blocks(_ workflow: String, _ key: String) -> Bool {
        self.workflow == workflow && dedupKey == key && recorded != .failed && recorded != .cancelled
    }
}
