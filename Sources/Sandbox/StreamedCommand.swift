/// A command of any length whose output is taken while it comes.
///
/// For whoever watches and may lose it: it ends with the call. What must end well is a ``DurableCommand``.
package struct StreamedCommand: Sendable {
    /// The program (looked up in the sandbox's `PATH`) and its arguments; never a secret in it.
    package var arguments: [String]
    /// Added to the sandbox's own small environment.
    package var environment: [String: String]
    /// `nil`: the provider's work directory.
    package var workingDirectory: String?
    /// How long nothing may be heard of a command elsewhere; then the connection counts as dead, and the call fails with
    /// an error that passes. `nil`: as long as the command likes.
    package var silenceLimit: Duration?
    /// `nil`: end of file at once. Only with the capability ``Capabilities/standardInput``.
    package var input: CommandFeed?

    package init(
        _ arguments: [String],
        environment: [String: String] = [:],
        workingDirectory: String? = nil,
        input: CommandFeed? = nil
    ) {
        self.arguments = arguments
        self.environment = environment
        self.workingDirectory = workingDirectory
        self.input = input
    }

    /// A script for the sandbox's `/bin/sh`; the arguments are `$1`, `$2` ….
    package static func shell(
        _ script: String, _ arguments: [String] = [], input: CommandFeed? = nil
    ) -> StreamedCommand {
        StreamedCommand(["/bin/sh", "-c", script, "sh"] + arguments, input: input)
    }
}

/// What is heard of a ``StreamedCommand`` while it runs.
package enum CommandProgress: Hashable, Sendable {
    /// Comes once, before any output. That the program exists is not said by it.
    case started
    /// Never empty.
    case output([UInt8])
    /// Never empty.
    case errors([UInt8])
}
