import SnapshotSteps
import Workflow

extension Session {
    /// The run that a person means by an id, a unique prefix of one, or `@last`.
    func findRun(_ text: String) async throws -> RunRecord {
        if text == "@last" {
            guard let last = try await engine.runs(RunQuery(limit: 1)).first else {
                throw SnapshotError(.runNotFound, "there is no run yet; start one: snapwf run IMAGE")
            }
            return last
        }
        let found = text.isEmpty ? [] : try await engine.find(prefix: text)
        if let exact = found.first(where: { $0.id.description == text.lowercased() }) { return exact }
        guard let first = found.first else {
            throw SnapshotError(.runNotFound, "there is no run \"\(text)\"; list them: snapwf ls")
        }
        guard found.count == 1 else {
            let some = found.prefix(4).map(\.id.description).joined(separator: ", ")
            throw SnapshotError(.runNotFound, "\"\(text)\" names \(found.count) runs (\(some)…); write more of the id")
        }
        return first
    }
}
