import SnapshotSteps
import Workflow

/// Looks every few seconds how things stand: whether the store answers, what waits, what is left of sandboxes.
struct WorkerPulse: Sendable {
    let session: Session
    let worker: Worker
    let desk: WorkerDesk
    let queues: [String]
    /// Whether somebody reads the metrics.
    let isMeasured: Bool
    /// Whether the worker ends when there is nothing to do.
    let endsWhenIdle: Bool

    private static let interval = Duration.seconds(5)
    /// The store counts as away when it does not answer for so long.
    private static let answerLimit = Duration.seconds(10)
    private static let shortInterval = Duration.milliseconds(200)
    private static let sweepInterval = Duration.seconds(60)
    /// A worker that is to end when it is idle gives up on a store that does not answer for so long.
    private static let patience = Duration.seconds(120)

    /// Returns when there is nothing to do, where the worker is to end then; otherwise when its task is cancelled.
    ///
    /// - Throws: why the store could not be asked, of a worker that is to end when it is idle.
    func beat() async throws {
        var swept = ContinuousClock.now
        var answered = ContinuousClock.now
        var idleBeats = 0
        while !Task.isCancelled {
            do {
                // A connection that takes nothing may wait for a minute; the pages and the log must not.
                guard let mayEnd = try await within(Self.answerLimit, { try await isIdle() }) else {
                    throw SnapshotError(.unavailable, "it said nothing for \(Self.answerLimit)")
                }
                // What it reads may be well, and what it writes not, as on a full disk.
                if let trouble = worker.trouble { throw trouble }
                // Twice: another worker may just have taken a batch, and be about to start its images.
                idleBeats = mayEnd ? idleBeats + 1 : 0
                if idleBeats == 2 { return }
                answered = .now
                desk.storeAnswered()
            } catch is CancellationError {
                return
            } catch {
                desk.storeFailed(error)
                if endsWhenIdle, answered.duration(to: .now) > Self.patience { throw error }
            }
            if swept.duration(to: .now) > Self.sweepInterval {
                await session.sweep()
                swept = .now
            }
            do {
                try await Task.sleep(for: endsWhenIdle ? Self.shortInterval : Self.interval)
            } catch {
                return
            }
        }
    }

    /// Whether nothing is at work here, and nothing waits that could be taken.
    private func isIdle() async throws -> Bool {
        let executed = worker.executed
        let runs = Set(worker.runs)
        for load in worker.load { desk.metrics.show(load) }
        try await session.engine.requireRunsHere()
        guard isMeasured || endsWhenIdle else { return false }
        var due = 0
        for queue in queues {
            let figures = try await session.engine.figures(ofQueue: queue)
            desk.metrics.show(figures, of: queue)
            desk.leaves(figures.foreign, of: queue)
            due += figures.due - figures.foreign
        }
        if isMeasured {
            let held = try await session.engine.resources(states: [.intended, .held, .releasing])
            desk.metrics.show(sandboxes: held.count { runs.contains($0.runID) })
        }
        // One that was taken and ended meanwhile may have left something to do.
        guard due == 0, endsWhenIdle, worker.executed == executed else { return false }
        // A batch at work is not waiting: it starts its images.
        let starts = worker.load.contains { $0.queue == BatchWorkflow.queue && $0.working > 0 }
        guard !starts else { return false }
        for run in worker.runs {
            guard try await canOnlyWait(run) else { return false }
        }
        // What was taken while the queues were counted is neither due nor among the runs until it is begun.
        return !worker.isTaking && runs.isSuperset(of: worker.runs) && worker.executed == executed
    }

    /// Whether a run is a batch that waits, and only for images which this worker does not bring on: those that wait for a
    /// person, and those of other queues and versions. It is handed over like any other when the worker ends.
    private func canOnlyWait(_ run: RunID) async throws -> Bool {
        guard try await session.engine.run(run)?.queueing?.queue == BatchWorkflow.queue else { return false }
        let open = try await session.engine.children(of: run).filter { !$0.status.isFinished }
        return !open.isEmpty
            && open.allSatisfy { child in
                guard let queueing = child.queueing else { return true }
                return queueing.isParked || !queues.contains(queueing.queue) || child.isForeign
            }
    }
}
