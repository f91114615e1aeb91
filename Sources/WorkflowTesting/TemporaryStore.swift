import Foundation
public import Workflow

/// A store in a directory of its own that goes away with ``remove()``.
public struct TemporaryStore: Sendable {
    /// The directory.
    public let directory: String
    /// The database's file in it.
    public var path: String { directory + "/workflow.sqlite" }
    /// What an engine is opened with.
    public var configuration: StoreConfiguration { .sqlite(path: path) }

    /// Makes the directory.
    ///
    /// - Parameter inMemory: in `/dev/shm`, if the machine has it. Enough for the death of a process, not for power
    ///   loss, and much faster.
    public init(inMemory: Bool = false) throws {
        let memory = URL(fileURLWithPath: "/dev/shm", isDirectory: true)
        let isThere = inMemory && FileManager.default.isWritableFile(atPath: memory.path)
        let parent = isThere ? memory : FileManager.default.temporaryDirectory
        let url = parent.appending(path: "workflow-\(UUID().uuidString.lowercased())")
        try FileManager.default.createDirectory(
            at: url, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        directory = url.path
    }

    /// Removes the directory with everything in it.
    public func remove() throws {
        try FileManager.default.removeItem(atPath: directory)
    }

    /// Calls `body` with a new store and removes it afterwards.
    public static func use<T>(_ body: (TemporaryStore) async throws -> T) async throws -> T {
        let store = try TemporaryStore()
        let result: Result<T, any Error>
        do {
            result = .success(try await body(store))
        } catch {
            result = .failure(error)
        }
        try store.remove()
        return try result.get()
    }
}
