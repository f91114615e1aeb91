import FoundationEssentials
import HelperInterface
import SnapshotSteps
import Workflow

/// Records runs for a queue, so that workers execute them.
struct Submission {
    /// What is asked for, with what makes two calls the same request.
    struct Item {
        let request: SnapshotRequest
        let label: String
        /// Of the run.
        let labels: [String: String]
        let timeout: Int?
    }

    /// A run that is on disk.
    struct Submitted {
        let run: RunID
        let request: SnapshotRequest
        /// Found, as it was then: somebody had asked for the same before.
        let existing: RunRecord?
    }

    let session: Session
    let queue: QueueName
    let priority: Int
    let notBefore: Date?

    /// Names of labels that runs have by themselves.
    static let ownLabels = [
        RunDriver.requestLabel, RunDriver.imageLabel, GarbageCollector.placeLabel, BatchWorkflow.label,
    ]

    /// Records a run, unless the same request waits or is worked on: then that is the run.
    ///
    /// However many ask at the same moment, on however many machines, there is one run. One that has ended answers nobody any
    /// more, as a tag may mean another image now; what its image became is found in the catalog.
    func submit(_ item: Item) async throws -> Submitted {
        guard !item.request.ignoresCatalog else { return try await record(item, dedupKey: nil) }
        let first = try await record(item, dedupKey: item.label)
        guard first.existing?.recordedStatus == .succeeded else { return first }
        // The newest one that has ended gives its successor its name: all who see it ask for the same successor.
        let newest = try await newestSubmission(of: item)
        guard let newest = newest ?? first.existing else { return first }
        if !newest.status.isFinished { return Submitted(run: newest.id, request: item.request, existing: newest) }
        return try await record(item, dedupKey: "\(item.label) after \(newest.id)")
    }

    /// Of the runs with this request. One that snapwf run began, or that belongs to a batch, is nobody's submission, and
    /// there may be any number of those.
    private func newestSubmission(of item: Item) async throws -> RunRecord? {
        var query = RunQuery(
            workflow: SnapshotWorkflow.name, labels: [RunDriver.requestLabel: item.label], limit: Self.page)
        while true {
            let runs = try await session.engine.runs(query)
            if let found = runs.first(where: { $0.queueing != nil && $0.labels[BatchWorkflow.label] == nil }) {
                return found
            }
            guard runs.count == Self.page, let last = runs.last else { return nil }
            query.before = last.id
        }
    }

    private func record(_ item: Item, dedupKey: String?) async throws -> Submitted {
        let labels = item.labels.merging(RunDriver.labels(of: item.request, item.label)) { $1 }
        let handle = try await session.engine.enqueue(
            session.workflow(), input: item.request, queue: queue.description, priority: priority, labels: labels,
            dedupKey: dedupKey, notBefore: notBefore, timeout: item.timeout.map { .seconds($0) })
        return Submitted(run: handle.id, request: item.request, existing: handle.existing)
    }

    /// Records all of them as one run that starts the others.
    ///
    /// - Throws: `usage` for more than a store takes as one run.
    func submit(batch items: [Item]) async throws -> RunID {
        let request = BatchRequest(
            queue: queue.description, priority: priority,
            items: items.map { item in
                .init(
                    request: item.request,
                    labels: item.labels.merging(RunDriver.labels(of: item.request, item.label)) { $1 },
                    timeout: item.timeout)
            })
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let document = try encoder.encode(request)
        guard document.count <= Self.largestBatch else {
            throw SnapshotError(
                .usage, "the batch takes \(document.count) bytes, and may take \(Self.largestBatch): submit it in parts"
            )
        }
        let images = items.count == 1 ? "1 image" : "\(items.count) images"
        let handle = try await session.engine.enqueue(
            BatchWorkflow(), input: request, queue: BatchWorkflow.queue, priority: priority,
            labels: [RunDriver.imageLabel: "batch of \(images)"], notBefore: notBefore)
        return handle.id
    }

    private static let page = 100

    /// What a store takes, less some room for how it writes it.
    private static let largestBatch = 900_000
}
