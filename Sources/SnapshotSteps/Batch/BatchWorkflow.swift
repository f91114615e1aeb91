import HelperInterface
package import Workflow

/// Many images as one run: each is a child of its own, and this one sleeps until all of them have ended.
///
/// One that fails keeps no other from being made, and the batch succeeds with what became of each. Cancelling the batch
/// cancels the images that have not ended.
package struct BatchWorkflow: WorkflowDefinition {
    package static let name = "batch"
    package static let version = 1

    /// Where batches wait for a worker: apart from images, so that none of them takes an image's place, and every worker
    /// takes them, whichever provider it works for.
    package static let queue = "batches"
    /// The label of an image's run that names its batch.
    package static let label = "batch"

    /// A failure's text is kept up to this, so that a thousand of them are one document of the store.
    private static let longestError = 400

    package init() {}

    package func run(_ batch: BatchRequest, in run: RunContext) async throws -> BatchResult {
        var children: [ChildRun<SnapshotResult>] = []
        for (index, item) in batch.items.enumerated() {
            var labels = item.labels
            labels[Self.label] = run.id.description
            children.append(
                try await run.child(
                    "image[\(index)]", SnapshotWorkflow.self, input: item.request, queue: batch.queue,
                    priority: batch.priority, labels: labels, timeout: item.timeout.map { .seconds($0) }))
        }
        var rows: [BatchResult.Row] = []
        for (child, item) in zip(children, batch.items) {
            do {
                rows.append(BatchResult.Row(item.request.image, child.id, try await child.result()))
            } catch let failure as ChildFailure {
                rows.append(BatchResult.Row(item.request.image, failure, limit: Self.longestError))
            }
        }
        return BatchResult(rows: rows)
    }
}

extension BatchResult.Row {
    fileprivate init(_ image: String, _ run: RunID, _ result: SnapshotResult) {
        self.init(
            image: image, run: run.description, status: RunStatus.succeeded.rawValue, snapshot: result.snapshotID,
            pushedTo: result.pushedTo, cached: result.cached, exitCode: ExitStatus.done.rawValue)
    }

    fileprivate init(_ image: String, _ failure: ChildFailure, limit: Int) {
        let known = failure.failure.decoded(as: SnapshotError.self)
        let message = known?.message ?? failure.failure.message
        self.init(
            image: image, run: failure.run.description, status: failure.status.rawValue,
            error: message.count > limit ? String(message.prefix(limit)) + "…" : message,
            exitCode: (known?.exitStatus ?? .failed).rawValue)
    }
}
