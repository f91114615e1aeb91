import Files
import HelperInterface
import SnapshotSteps
import Workflow

/// A verb that does one thing to each of several runs.
enum RunActions {
    /// Looks up all runs before anything happens; then does it to each, also when it failed for another.
    ///
    /// - Parameter action: what to do; returns in words what became of the run.
    /// - Throws: what was thrown for the first run where it failed.
    @MainActor
    static func perform(
        on names: [String], in session: Session, _ reporter: RunReporter, _ options: GlobalOptions,
        _ action: @MainActor (RunRecord) async throws -> String
    ) async throws {
        var outcomes: [RunActionDocument.Outcome] = []
        var first: (any Error)?
        do {
            for record in try await session.engine.findRuns(names) {
                do {
                    let words = try await action(record)
                    outcomes.append(.init(id: record.id.description, outcome: words, error: nil))
                } catch {
                    let report = ErrorReport(error)
                    outcomes.append(
                        .init(id: record.id.description, outcome: "failed", error: report.document.error))
                    if names.count > 1 || options.json { Terminal.standardError.write(report.text) }
                    first = first ?? error
                }
            }
        } catch {
            await session.close()
            throw error
        }
        await session.close()
        try tell(outcomes, options)
        if let first {
            guard names.count > 1 || options.json else { throw first }
            throw Exit(ErrorReport(first).status)
        }
    }

    private static func tell(_ outcomes: [RunActionDocument.Outcome], _ options: GlobalOptions) throws {
        if options.json { return try deliver(JSONText.document(RunActionDocument(runs: outcomes))) }
        for outcome in outcomes where outcome.error == nil {
            try deliver(options.quiet ? "\(outcome.id)\n" : "\(outcome.id)  \(outcome.outcome)\n")
        }
    }
}

/// `snapwf cancel --json`, `snapwf rm --json`, `snapwf decide --json`
struct RunActionDocument: Encodable {
    struct Outcome: Encodable {
        let id: String
        /// In words; `failed` with an error.
        let outcome: String
        let error: ErrorDocument.Content?
    }
    let schema = 1
    let runs: [Outcome]
}
