/// A workflow: an async function made of named steps, recorded under a name and a version.
///
/// When a run is resumed, ``run(_:in:)`` runs again from the top and every recorded step answers from its checkpoint.
/// Code between steps therefore runs once a process; whatever touches the outside belongs into a step.
public protocol WorkflowDefinition: Sendable {
    /// What a run is started with. It is stored as JSON and must never hold a secret.
    associatedtype Input: Codable & Sendable
    /// What a run answers. It is stored as JSON and must never hold a secret.
    associatedtype Output: Codable & Sendable

    /// The name under which runs are stored, 1 to 200 bytes of UTF-8. Never change it while runs are unfinished.
    static var name: String { get }

    /// Raise it whenever steps are added, removed, renamed or change their meaning.
    ///
    /// An unfinished run of another version is never resumed: it stops with ``WorkflowError/Code/versionMismatch``
    /// and stays as it is.
    static var version: Int { get }

    /// The work. Errors that leave this function fail the run for good, after every resource scope released its own.
    func run(_ input: Input, in run: RunContext) async throws -> Output
}
