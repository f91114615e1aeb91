import Files
import FoundationEssentials
import HelperInterface
import SnapshotSteps
import Workflow

/// Waits for a batch, and tells how its images stand.
@MainActor
struct BatchWatch {
    let session: Session
    let reporter: RunReporter
    let options: GlobalOptions

    /// How often it looks.
    private static let interval = Duration.milliseconds(500)

    /// Returns when every image was made; the exit code is that of the first that was not.
    func follow(_ id: RunID) async throws {
        let interruption = await Interruption(policy: .keep, engine: session.engine) { [reporter] in reporter.note($0) }
        defer { interruption.end() }
        let wait = Task { @MainActor in try await end(of: id) }
        let token = interruption.watch { wait.cancel() }
        defer { interruption.forget(token) }
        let record: RunRecord
        do {
            record = try await wait.value
        } catch is CancellationError {
            reporter.note("no longer waiting; batch \(id) stays with the workers: snapwf show \(id)")
            throw Exit(.interrupted)
        }
        guard let result = BatchResult(record) else {
            throw RunFailure(run: id, status: record.status, failure: record.failure, steps: [])
        }
        try tell(result, id)
        if let bad = result.rows.first(where: { $0.exitCode != ExitStatus.done.rawValue }) {
            throw Exit(code: bad.exitCode)
        }
    }

    private func end(of id: RunID) async throws -> RunRecord {
        var told: [RunID: String] = [:]
        while true {
            guard let record = try await session.engine.run(id) else { throw SnapshotError.gone(id) }
            let children = try await session.engine.children(of: id)
            for child in children {
                let standing = child.standing
                guard told.updateValue(standing, forKey: child.id) != standing, standing != "queued" else { continue }
                let why = child.failure.map { ": \($0.message)" } ?? ""
                reporter.note(
                    "\(child.labels[RunDriver.imageLabel] ?? child.id.description) \(standing)\(why)", always: false)
            }
            if record.status.isFinished { return record }
            if record.isLeft { throw try await RunParked(record, in: session.engine) }
            // It waits for images that wait for a person.
            let open = children.filter { !$0.status.isFinished }
            if let first = open.first, open.allSatisfy(\.isLeft) {
                throw try await RunParked(first, in: session.engine)
            }
            try await Task.sleep(for: Self.interval)
        }
    }

    private func tell(_ result: BatchResult, _ id: RunID) throws {
        if options.json {
            try deliver(JSONText.document(BatchDocument(batch: id.description, images: result.rows)))
        } else if options.quiet {
            for row in result.rows { if let snapshot = row.snapshot { try deliver(snapshot + "\n") } }
        } else {
            let rows = result.rows.map { row in
                let made = (row.snapshot ?? "-") + (row.cached == true ? " (cached)" : "")
                return [row.status, row.image, row.error ?? made]
            }
            try deliver(
                table(
                    [["STATUS", "IMAGE", "SNAPSHOT"]] + rows, width: Terminal.standardOutput.columns,
                    style: Style(standardOutput: options.color), status: 0))
        }
    }
}

extension SnapshotError {
    fileprivate static func gone(_ id: RunID) -> SnapshotError {
        SnapshotError(.runNotFound, "the record of run \(id) was deleted while it was waited for: snapwf ls")
    }
}
