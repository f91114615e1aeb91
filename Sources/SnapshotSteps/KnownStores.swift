import Files
import FoundationEssentials
import Glibc
import HelperInterface

/// A store of runs that this installation has worked with, besides the one in its state directory.
package struct KnownStore: Codable, Hashable, Sendable {
    package let id: String
    /// What a person knows it by; never with a password.
    package let name: String

    package init(id: String, name: String) {
        self.id = id
        self.name = name
    }
}

/// Sandboxes and half-made directories name their run only, and a run may be in any of the stores that were used here: what
/// one store does not know is not abandoned as long as there is another.
extension StateDirectory {
    private var storesDirectory: String { path + "/stores" }

    /// Notes a store before anything is made for its runs.
    package func remember(_ store: KnownStore) throws {
        let file = "\(storesDirectory)/\(store.id).json"
        if fileExists(file) { return }
        try makeDirectories(storesDirectory, mode: 0o700)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        try replaceFile(file, Array(try encoder.encode(store)), mode: 0o600)
    }

    package func knownStores() throws -> [KnownStore] {
        guard fileExists(storesDirectory) else { return [] }
        var stores: [KnownStore] = []
        for name in try directoryNames(storesDirectory).sorted() where name.hasSuffix(".json") {
            let file = "\(storesDirectory)/\(name)"
            guard let document = try readFile(file, limit: 64 << 10) else { continue }
            do {
                stores.append(try JSONDecoder().decode(KnownStore.self, from: Data(document)))
            } catch {
                throw SnapshotError(
                    .stateDirectory,
                    "\(file), which names a store that was used, cannot be read: remove it if that store is no more (\(error))"
                )
            }
        }
        return stores
    }

    /// All runs of a store are in another one now.
    ///
    /// - Parameter isOwn: whether the other one is the state directory's, which needs no note.
    package func replaceStore(_ id: String, by store: KnownStore, isOwn: Bool) throws {
        if !isOwn { try remember(store) }
        let file = "\(storesDirectory)/\(id).json"
        guard unlink(file) == 0 || errno == ENOENT else { throw FileError("remove \(file)", errno: errno) }
    }
}
