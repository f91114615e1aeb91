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

extension DepotProvider: CapturingProvider {}
