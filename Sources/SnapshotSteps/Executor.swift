package import Workflow

/// Which installation executes a run, or did so last. Stores may be shared: sandboxes of a machine, and snapshots in a
/// catalog, are with the installation that made them.
package enum Executor {
    private static let prefix = "snapwf "

    /// What an installation's engine says of itself.
    package static func description(owner: String) -> String { prefix + owner }

    static func isOther(_ description: String, than owner: String) -> Bool {
        description.hasPrefix(prefix) && description != Self.description(owner: owner)
    }
}

extension RunRecord {
    /// Whether another installation had the run last.
    package func isElsewhere(than owner: String) -> Bool {
        self.owner.map { Executor.isOther($0.description, than: owner) } ?? false
    }
}

extension Engine {
    /// The newest unfinished run with these labels that this installation had last.
    package func unfinishedRun(labels: [String: String], owner: String) async throws -> RunRecord? {
        var query = RunQuery(
            statuses: [.pending, .running, .sleeping, .interrupted], workflow: SnapshotWorkflow.name, labels: labels,
            limit: 100)
        while true {
            let page = try await runs(query)
            if let own = page.first(where: { !$0.isElsewhere(than: owner) }) { return own }
            guard page.count == query.limit, let last = page.last else { return nil }
            query.before = last.id
        }
    }
}
