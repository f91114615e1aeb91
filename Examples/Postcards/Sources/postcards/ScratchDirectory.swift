import Foundation
import Workflow

/// A directory that a run owns: in the ledger before it exists, removed by every way out of its scope.
struct ScratchDirectory: DurableResource {
    static let kind = "directory"

    /// The directory that all of them are in.
    let parent: String
    let say: @Sendable (String) -> Void

    /// The name is the key, so whoever has the key can find it.
    private func path(_ key: ResourceKey) -> String { "\(parent)/\(key.idempotencyKey)" }

    func find(_ key: ResourceKey) async throws -> [String] {
        FileManager.default.fileExists(atPath: path(key)) ? [path(key)] : []
    }

    func create(_ key: ResourceKey) async throws -> String {
        try FileManager.default.createDirectory(atPath: path(key), withIntermediateDirectories: true)
        say("made scratch directory, generation \(key.generation)")
        return path(key)
    }

    func liveness(of path: String, _ key: ResourceKey) async throws -> Liveness {
        FileManager.default.fileExists(atPath: path) ? .alive : .lost
    }

    func release(_ path: String, _ key: ResourceKey) async throws {
        guard FileManager.default.fileExists(atPath: path) else { return }
        try FileManager.default.removeItem(atPath: path)
        say("removed scratch directory")
    }

    func externalID(of path: String) -> String { path }
}
