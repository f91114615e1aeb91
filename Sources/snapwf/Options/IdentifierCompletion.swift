import ArgumentParser
import FoundationEssentials
import SnapshotSteps
import Workflow

/// Completions that look into the state: quick, silent whatever goes wrong, and they make nothing.
extension CompletionKind {
    /// Ids of runs, newest first.
    static let runs = CompletionKind.custom { _, _, prefix in await IdentifierCompletion.runs(nil, prefix) }
    /// Those that can be gone on with.
    static let resumableRuns = CompletionKind.custom { _, _, prefix in
        await IdentifierCompletion.runs([.interrupted, .pending], prefix)
    }
    /// Those that have not ended.
    static let unfinishedRuns = CompletionKind.custom { _, _, prefix in
        await IdentifierCompletion.runs([.interrupted, .pending, .running, .sleeping], prefix)
    }
    /// Ids and names of snapshots.
    static let snapshots = CompletionKind.custom { _, _, prefix in await IdentifierCompletion.snapshots(prefix) }
}

private enum IdentifierCompletion {
    static func runs(_ statuses: Set<RunStatus>?, _ prefix: String) async -> [String] {
        guard let reader = try? await RecordedRuns.open() else { return [] }
        let found = try? await reader.runs(
            RunQuery(statuses: statuses, workflow: SnapshotWorkflow.name, limit: 200))
        await reader.close()
        let ids = (found ?? []).map(\.id.description)
        return (ids + (ids.isEmpty ? [] : ["@last"])).filter { $0.hasPrefix(prefix) }
    }

    static func snapshots(_ prefix: String) async -> [String] {
        guard let catalog = try? RecordedSnapshots.open(), let all = try? await catalog.snapshots() else { return [] }
        let names = all.reversed().flatMap { $0.names + [$0.id] }
        return (names + (names.isEmpty ? [] : ["@last"])).filter { $0.hasPrefix(prefix) }
    }
}
