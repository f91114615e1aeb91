import Foundation
import Workflow

@testable import Workflow

/// The store under test as the model sees it. The only file of the model that knows how a store is called.
struct ModelStore: Sendable {
    let store: any WorkflowStore

    static func open(_ store: TestStore, clock: any EngineClock) async throws -> ModelStore {
        // The time of leases is the database's; the model's stands still.
        ModelStore(store: try await store.open(clock: clock) { $0.leaseTerm = .seconds(3600) })
    }

    func sever() { store.sever() }
    func close() async { await store.close() }

    // MARK: - Changes

    func create(_ run: ModelNewRun, owner: RunOwner) async -> ModelAnswer {
        let new = NewRun(
            id: run.id, workflow: run.workflow, version: 1, input: run.input, inputHash: Payload.hash(run.input),
            dedupKey: run.dedupKey, labels: run.labels, deadlineAt: run.deadlineAt.map(Timestamp.init(milliseconds:)))
        return await withCheckedContinuation { continuation in
            store.create(new, owner: owner, urgency: run.isUrgent ? .now : .withNext) { result in
                switch result {
                case .success(.created(let claim)): continuation.resume(returning: .created(epoch: claim.epoch))
                case .success(.existing(let record)): continuation.resume(returning: .existing(ModelRun(record)))
                case .failure(let error): continuation.resume(returning: ModelAnswer(error))
                }
            }
        }
    }

    func claim(_ id: RunID, owner: RunOwner, purpose: ModelPurpose) async -> ModelAnswer {
        await answer {
            switch try await store.claim(id, owner: owner, purpose: ClaimPurpose(purpose)) {
            case .claimed(let claimed):
                guard claimed.claim.epoch == claimed.record.epoch else { return .defect("two epochs: \(claimed)") }
                return .claimed(
                    ModelRun(claimed.record), claimed.steps.map(ModelStep.init),
                    claimed.resources.map(ModelResource.init))
            case .held(let owner): return .held(by: owner)
            case .finished(let status): return .finished(status)
            case .unknown: return .unknown
            }
        }
    }

    func relinquish(_ id: RunID, epoch: Int, isOver: Bool) async -> ModelAnswer {
        guard let leases = store as? PostgresStore else {
            await store.relinquish(LockClaim(id: id, epoch: epoch), isOver: isOver)
            return .done
        }
        let epoch = leases.keeper.epoch(of: id) ?? epoch
        await store.relinquish(LeaseClaim(id: id, epoch: epoch), isOver: isOver)
        // The lease of a run that is over goes with the next commit.
        return isOver ? await flush() : .done
    }

    /// Submits the batches in order.
    ///
    /// - Parameter inOrder: whether the answers have to come in the order of the batches, as all do but a crash's.
    /// - Returns: their answers, once all have come.
    func submit(
        _ batches: [ModelBatch], inOrder: Bool = true, then next: @Sendable () async -> Void = {}
    ) async -> ModelAnswer {
        let collected = AnswerCollection(count: batches.count, inOrder: inOrder)
        for (index, batch) in batches.enumerated() {
            store.submit(
                WriteBatch(
                    run: batch.run, epoch: batch.epoch, writes: batch.writes,
                    urgency: batch.isUrgent ? .now : .withNext)
            ) { result in
                switch result {
                case .success: collected.add(.done, from: index)
                case .failure(let error): collected.add(ModelAnswer(error), from: index)
                }
            }
        }
        await next()
        return await collected.all.value()
    }

    func requestCancellation(_ id: RunID) async -> ModelAnswer {
        await answer {
            try await store.requestCancellation(id)
            return .done
        }
    }

    func delete(before cutoff: Int64, keep: Int) async -> ModelAnswer {
        await answer {
            .count(
                try await store.deleteFinishedRuns(before: Timestamp(milliseconds: cutoff), keep: keep))
        }
    }

    func flush() async -> ModelAnswer {
        await answer {
            try await store.flush()
            return .done
        }
    }

    // MARK: - Reading

    func cancellationRequests() async -> ModelAnswer {
        await answer { .ids(Set(try await store.cancellationRequests())) }
    }

    func isHeld(_ id: RunID) async -> ModelAnswer { .flag(await store.isHeld(id)) }

    func run(_ id: RunID) async -> ModelAnswer {
        await answer { .runs(try await store.run(id).map { [ModelRun($0)] } ?? []) }
    }

    func runs(prefix: String) async -> ModelAnswer {
        await answer { .runs(try await store.runs(idPrefix: prefix).map(ModelRun.init)) }
    }

    func runs(_ query: RunQuery) async -> ModelAnswer {
        await answer { .runs(try await store.runs(query).map(ModelRun.init)) }
    }

    func steps(of id: RunID) async -> ModelAnswer {
        await answer { .steps(try await store.steps(of: id).map(ModelStep.init)) }
    }

    func resources(of id: RunID) async -> ModelAnswer {
        await answer { .resources(try await store.resources(of: id).map(ModelResource.init)) }
    }

    func resources(states: Set<ResourceRecord.State>) async -> ModelAnswer {
        await answer { .resources(try await store.resources(states: states).map(ModelResource.init)) }
    }

    /// Whether numbers count over the store or in each run is the store's business: only their order is looked at.
    func events(of id: RunID, skipping count: Int, limit: Int) async -> ModelAnswer {
        await answer {
            let all = try await store.events(of: id, after: 0, limit: 10_000)
            guard zip(all, all.dropFirst()).allSatisfy({ $0.seq < $1.seq }) else {
                return .defect("the numbers of the events do not grow: \(all.map(\.seq))")
            }
            guard all.allSatisfy({ $0.seq > 0 && $0.runID == id }) else { return .defect("foreign events: \(all)") }
            let last = count > 0 ? all.prefix(count).last?.seq ?? 0 : 0
            return .events(try await store.events(of: id, after: last, limit: limit).map(ModelEvent.init))
        }
    }

    private func answer(_ body: () async throws -> ModelAnswer) async -> ModelAnswer {
        do {
            return try await body()
        } catch {
            return ModelAnswer(error)
        }
    }
}

/// Changes of one run that are applied together or not at all.
struct ModelBatch: Sendable {
    let run: RunID
    let epoch: Int
    let writes: [RunWrite]
    let isUrgent: Bool
}

extension ModelAnswer {
    init(_ error: any Error) {
        guard let error = error as? WorkflowError else {
            self = .defect("an error that is none of the engine's: \(error)")
            return
        }
        self = .refused(error.code)
    }
}

extension ClaimPurpose {
    fileprivate init(_ purpose: ModelPurpose) {
        switch purpose {
        case .execution: self = .execution
        case .collection: self = .collection
        case .decision: self = .decision
        }
    }
}
