/// Where a sandbox is in its life.
package enum SandboxState: Hashable, Codable, Sendable {
    /// It exists and may become `running`; commands are refused or wait.
    case starting
    /// Commands can run.
    case running
    /// Over for good; the reason is for people.
    case ended(reason: String)

    /// Whether it can still become, or is, usable.
    package var isAlive: Bool {
        if case .ended = self { false } else { true }
    }
}

/// What a provider knows of a sandbox at one moment.
package struct SandboxInfo: Codable, Hashable, Sendable {
    package var id: SandboxID
    package var name: String
    package var labels: [String: String]
    package var state: SandboxState
    package var createdAt: UnixTime
    /// When the time to live ends it; `nil` where the provider does not tell.
    package var expiresAt: UnixTime?
    /// What a person should know, such as "memory: not enforced".
    package var notes: [String]

    package init(
        id: SandboxID,
        name: String,
        labels: [String: String],
        state: SandboxState,
        createdAt: UnixTime,
        expiresAt: UnixTime? = nil,
        notes: [String] = []
    ) {
        self.id = id
        self.name = name
        self.labels = labels
        self.state = state
        self.createdAt = createdAt
        self.expiresAt = expiresAt
        self.notes = notes
    }

    /// Whether every one of these labels is there with the same value.
    package func carries(labels wanted: [String: String]) -> Bool {
        wanted.allSatisfy { labels[$0.key] == $0.value }
    }
}
