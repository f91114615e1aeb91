import FoundationEssentials
import OCI
package import Sandbox

extension SnapshotRoot {
    /// The root that a snapshot of the catalog makes: what its image's config says of environment, user and directory.
    package init(_ snapshot: Snapshot, useLock: String?) throws(SnapshotError) {
        try self.init(image: snapshot.path, config: snapshot.config, useLock: useLock)
    }

    /// - Parameter config: the image config, as the registry has it.
    /// - Throws: `badImage` when the config cannot be read.
    init(image path: String, config: String, useLock: String? = nil) throws(SnapshotError) {
        let process = try ImageProcess(config: config)
        self.init(
            path: path, useLock: useLock, environment: process.environment, user: process.user,
            workingDirectory: process.workingDirectory)
    }
}

extension Snapshot {
    /// - Throws: `usage` when this machine's processor does not understand the image's programs.
    package func requireBootable() throws(SnapshotError) { try Platform.requireBootable(platform) }
}

extension Platform {
    static func requireBootable(_ text: String) throws(SnapshotError) {
        guard let platform = try? Platform(parsing: text), platform.architecture != Platform.host.architecture else {
            return
        }
        throw SnapshotError(
            .usage, "a snapshot for \(text) does not boot on this machine, which is \(Platform.host)")
    }
}

/// What an image's config says of the process that it is for.
///
/// Source: the OCI image specification, config.md, "Properties".
package struct ImageProcess: Sendable, Hashable {
    /// `NAME=value`.
    package var environment: [String]
    /// `user`, `uid`, `user:group` or `uid:gid`; empty for root.
    package var user: String
    /// Empty for `/`.
    package var workingDirectory: String
    /// What a container runtime would start: the entrypoint and behind it the command; empty when there is neither.
    package var entrypoint: [String]
    package var command: [String]

    /// - Throws: `badImage` when the config is no such document.
    package init(config: String) throws(SnapshotError) {
        struct Document: Decodable {
            struct Process: Decodable {
                var Env: [String]?
                var User: String?
                var WorkingDir: String?
                var Entrypoint: [String]?
                var Cmd: [String]?
            }
            var config: Process?
        }
        let process: Document.Process?
        do {
            process = try JSONDecoder().decode(Document.self, from: Data(config.utf8)).config
        } catch {
            throw SnapshotError(.badImage, "the image's config cannot be read: \(error)")
        }
        environment = process?.Env ?? []
        user = process?.User ?? ""
        workingDirectory = process?.WorkingDir ?? ""
        entrypoint = process?.Entrypoint ?? []
        command = process?.Cmd ?? []
    }
}
