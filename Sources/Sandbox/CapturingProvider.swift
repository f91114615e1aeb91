/// A provider that can keep a sandbox as a snapshot of its own; whether it really can, its
/// ``Capabilities/snapshots`` say after ``SandboxProvider/check()``.
package protocol CapturingProvider: SandboxProvider {
    /// The snapshot of that name of a sandbox, captured unless there is one already, and waited for until it is ready.
    ///
    /// - Parameters:
    ///   - name: names the content, such as a snapshot key.
    ///   - patience: how long a capture may take.
    func snapshot(of id: SandboxID, name: String, patience: Duration) async throws -> ProviderSnapshot
}

/// A snapshot that a provider made of a sandbox.
package struct ProviderSnapshot: Hashable, Sendable {
    package enum State: Hashable, Sendable {
        case capturing
        case ready
        case failed(reason: String)
    }

    package var id: String
    package var name: String
    package var sandbox: SandboxID
    package var state: State
    /// Names it by digest where the provider has such names.
    package var imageRef: String?
    package var sizeBytes: UInt64?
    package var createdAt: UnixTime
}
