import Files
import FoundationEssentials
import Glibc
package import Sandbox

/// Where sandboxes come from. Part of a run's input, so whoever resumes it finds the same ones; never a secret in it.
package enum SandboxPlace: Codable, Hashable, Sendable, CustomStringConvertible {
    /// This machine.
    case local
    /// A server of the Sandbox API.
    case api(url: String, organization: String?)

    package var description: String {
        switch self {
        case .local: "local"
        case .api(let url, let organization): url + (organization.map { " (organization \($0))" } ?? "")
        }
    }
}

/// Gives the provider of a place. Asks nobody.
package typealias ProviderOfPlace = @Sendable (SandboxPlace) throws -> any SandboxProvider

extension StateDirectory {
    private var placesDirectory: String { path + "/places" }

    /// Notes, before anything is created there, that sandboxes of this installation may be at a place: from then on
    /// garbage collection looks there, whatever becomes of the run.
    package func remember(_ place: SandboxPlace) throws {
        guard place != .local else { return }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let document = Array(try encoder.encode(place))
        try makeDirectories(placesDirectory, mode: 0o700)
        let file = "\(placesDirectory)/\(fileName(of: document)).json"
        if fileExists(file) { return }
        try replaceFile(file, document, mode: 0o600)
    }

    /// Every place at which this installation may have sandboxes: this machine first.
    package func places() throws -> [SandboxPlace] {
        guard fileExists(placesDirectory) else { return [.local] }
        var places: [SandboxPlace] = []
        for name in try directoryNames(placesDirectory).sorted() where name.hasSuffix(".json") {
            let file = "\(placesDirectory)/\(name)"
            guard let document = try readFile(file, limit: 64 << 10) else { continue }
            do {
                places.append(try JSONDecoder().decode(SandboxPlace.self, from: Data(document)))
            } catch {
                throw SnapshotError(
                    .stateDirectory,
                    "\(file), which says where sandboxes may be, cannot be read: remove it if no run needs it (\(error))"
                )
            }
        }
        return [.local] + places
    }

    private func fileName(of document: [UInt8]) -> String {
        // 64 bits tell a handful of places apart.
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in document { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return String(hash, radix: 16)
    }
}
