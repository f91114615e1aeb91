import Files
import FoundationEssentials
import Glibc
package import Sandbox

/// Where sandboxes come from. Part of a run's input, so whoever resumes it finds the same ones; never a secret in it.
package enum SandboxPlace: Codable, Hashable, Sendable, CustomStringConvertible {
    /// This machine.
    case local
    /// Virtual machines on this machine.
    case vm
    /// A server of the Sandbox API.
    case api(url: String, organization: String?)

    package var description: String {
        switch self {
        case .local: "local"
        case .vm: "vm"
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
        let (file, document) = try file(of: place)
        try makeDirectories(placesDirectory, mode: 0o700)
        if fileExists(file) { return }
        try replaceFile(file, document, mode: 0o600)
    }

    /// Once nothing of this installation can be there any more.
    func forget(_ place: SandboxPlace) throws {
        let (file, _) = try file(of: place)
        guard unlink(file) == 0 || errno == ENOENT else { throw FileError("remove \(file)", errno: errno) }
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

    private func file(of place: SandboxPlace) throws -> (path: String, document: [UInt8]) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let document = Array(try encoder.encode(place))
        // FNV-1a: 64 bits tell a handful of places apart.
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in document { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return ("\(placesDirectory)/\(String(hash, radix: 16)).json", document)
    }
}
