import ArgumentParser
import FoundationEssentials
import SnapshotSteps
import Workflow

/// Completions that look into the state: quick, silent whatever goes wrong, and they make nothing.
extension CompletionKind {
    /// Ids of runs, newest first.
    static let runs = CompletionKind.custom { _, _, prefix in await IdentifierCompletion.runs(nil, prefix) }
    /// Those that can be gone on with, first of all what was interrupted.
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
        // A store that does not answer at once is not waited for: somebody is typing.
        let settings = try? Settings(
            variables: ProcessInfo.processInfo.environment, directory: FileManager.default.currentDirectoryPath)
        let place = settings?.values["store"]?.texts.first
        guard let reader = try? await within(.seconds(2), { try await RecordedRuns.open(.named(place)) }) ?? nil else {
            return []
        }
        let found =
            (try? await reader.runs(RunQuery(statuses: statuses, limit: 200))) ?? []
        await reader.close()
        let ordered =
            statuses == nil
            ? found : found.filter { $0.status == .interrupted } + found.filter { $0.status != .interrupted }
        let candidates = ordered.map { run in
            Candidate(text: run.id.description, about: "\(run.standing), \(run.labels["image"] ?? "?")")
        }
        return offered(candidates, last: "the newest run", prefix)
    }

    static func snapshots(_ prefix: String) async -> [String] {
        guard let catalog = try? RecordedSnapshots.open(), let all = try? await catalog.snapshots() else { return [] }
        let candidates = all.reversed().flatMap { snapshot in
            (snapshot.names + [snapshot.id]).map { Candidate(text: $0, about: snapshot.image) }
        }
        return offered(candidates, last: "the newest snapshot", prefix)
    }

    private static func offered(_ candidates: [Candidate], last: String, _ prefix: String) -> [String] {
        (candidates + (candidates.isEmpty ? [] : [Candidate(text: "@last", about: last)]))
            .filter { $0.text.hasPrefix(prefix) }
            .map { $0.line(for: CompletionShell.requesting) }
    }
}

/// What may be typed, and what it is.
struct Candidate {
    let text: String
    let about: String

    /// bash knows no descriptions; zsh has them behind a colon, fish behind a tabulator.
    func line(for shell: CompletionShell?) -> String {
        let plain = String(about.map { $0.unicodeScalars.allSatisfy { $0.properties.isPrintable } ? $0 : " " })
        return switch shell {
        case .some(.zsh): text.replacing("\\", with: "\\\\").replacing(":", with: "\\:") + ":" + plain
        case .some(.fish): text + "\t" + plain
        default: text
        }
    }
}

extension Unicode.Scalar.Properties {
    fileprivate var isPrintable: Bool {
        switch generalCategory {
        case .control, .format, .surrogate, .lineSeparator, .paragraphSeparator, .unassigned: false
        default: true
        }
    }
}
