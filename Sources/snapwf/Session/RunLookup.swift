import FoundationEssentials
import SnapshotSteps
import Workflow

/// What runs can be looked up in.
protocol RunSource: Sendable {
    func runs(_ query: RunQuery) async throws -> [RunRecord]
    func find(prefix: String) async throws -> [RunRecord]
}

extension Engine: RunSource {}
extension StoreReader: RunSource {}

extension RunSource {
    /// The run that a person means by an id, a unique prefix of one, or `@last`.
    func findRun(_ text: String) async throws -> RunRecord {
        if text == "@last" {
            guard let last = try await runs(RunQuery(limit: 1)).first else {
                throw SnapshotError.noRun
            }
            return last
        }
        let found = text.isEmpty ? [] : try await find(prefix: text)
        if let exact = found.first(where: { $0.id.description == text.lowercased() }) { return exact }
        guard let first = found.first else {
            let hint = try await similarRun(text).map { "did you mean \($0)? All of them" } ?? "list them"
            throw SnapshotError(.runNotFound, "there is no run \"\(text)\"; \(hint): snapwf ls")
        }
        guard found.count == 1 else {
            let some = found.prefix(4).map(\.id.description).joined(separator: ", ")
            throw SnapshotError(.runNotFound, "\"\(text)\" names \(found.count) runs (\(some)…); write more of the id")
        }
        return first
    }

    /// The runs that a person means, each once.
    func findRuns(_ texts: [String]) async throws -> [RunRecord] {
        var found: [RunRecord] = []
        for text in texts {
            let run = try await findRun(text)
            if !found.contains(where: { $0.id == run.id }) { found.append(run) }
        }
        return found
    }

    /// The id among the newest that begins almost so.
    private func similarRun(_ text: String) async throws -> String? {
        let ids = try await runs(RunQuery(limit: 200)).map(\.id.description)
        guard text.count >= 4, let near = nearest(text, among: ids.map { String($0.prefix(text.count)) }) else {
            return nil
        }
        return ids.first { $0.hasPrefix(near) }
    }
}

extension SnapshotError {
    static var noRun: SnapshotError {
        SnapshotError(.runNotFound, "there is no run yet; start one: snapwf run IMAGE")
    }
}

/// The records of runs, for verbs that only look: nothing is made, swept or waited for.
enum RecordedRuns {
    /// - Returns: `nil` where no run was ever started.
    static func open(_ stored: StoreOptions) async throws -> StoreReader? {
        let home = try Places.stateDirectory(ProcessInfo.processInfo.environment)
        do {
            return try await StoreReader(store: try stored.place(in: StateDirectory(reading: home)).configuration)
        } catch let error as WorkflowError where error.code == .noStore {
            return nil
        }
    }

    /// Who a store is, and whether its runs are there.
    static func standing(of store: StoreConfiguration) async throws -> StoreStanding {
        let reader = try await StoreReader(store: store)
        let standing: Result<StoreStanding, any Error>
        do {
            standing = .success(try await reader.standing())
        } catch {
            standing = .failure(error)
        }
        await reader.close()
        return try standing.get()
    }

    /// Opens them for one look.
    static func with<Value>(
        _ stored: StoreOptions, _ body: (StoreReader) async throws -> Value
    ) async throws -> Value {
        let reader = try await require(stored)
        do {
            let value = try await body(reader)
            await reader.close()
            return value
        } catch {
            await reader.close()
            throw error
        }
    }

    /// - Throws: `SnapshotError.runNotFound` where no run was ever started.
    static func require(_ stored: StoreOptions) async throws -> StoreReader {
        guard let reader = try await open(stored) else { throw SnapshotError.noRun }
        return reader
    }
}
