/// Labels that tell whose a sandbox is. The only thing every provider echoes back, so never a secret in them.
package enum SandboxLabel {
    package static let run = "SNAPWF_RUN"
    package static let generation = "SNAPWF_GENERATION"
    package static let owner = "SNAPWF_OWNER"
    package static let key = "SNAPWF_KEY"
    package static let version = "SNAPWF_VERSION"

    /// The kind of the event that passes on what the provider noted about a sandbox; its payload is the note.
    package static let noteEvent = "sandbox.note"
}
