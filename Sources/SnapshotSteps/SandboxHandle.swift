import Sandbox

/// The sandbox as the ledger knows it.
struct SandboxHandle: Codable, Sendable {
    var id: SandboxID
    var name: String
    /// What a person should know, such as "memory: not enforced".
    var notes: [String]
}

extension SandboxHandle {
    init(_ info: SandboxInfo) {
        self.init(id: info.id, name: info.name, notes: info.notes)
    }
}
