/// A long command that is started once and then asked about.
package struct DurableCommand: Sendable {
    /// Names the command in its sandbox: the same key is the same command, started once.
    /// A safe file name: letters, digits, `.`, `_`, `-`; at most 100 characters; no leading dot.
    package var key: String
    /// The program and its arguments; never a secret in it.
    package var arguments: [String]
    /// Added to the sandbox's environment. Written to a file of mode 0600 in the sandbox; not for secrets.
    package var environment: [String: String]
    /// `nil`: the sandbox's work directory.
    package var workingDirectory: String?
    /// File name → bytes. Delivered, right before the start, as files of mode 0600 in the directory that the
    /// command finds in `SNAPWF_SECRETS` (see ``DurableCommandRunner/secretPath(_:of:)``). The command reads and
    /// removes them; what it leaves is removed when it ends.
    package var secrets: [String: [UInt8]]

    package init(
        key: String,
        arguments: [String],
        environment: [String: String] = [:],
        workingDirectory: String? = nil,
        secrets: [String: [UInt8]] = [:]
    ) {
        self.key = key
        self.arguments = arguments
        self.environment = environment
        self.workingDirectory = workingDirectory
        self.secrets = secrets
    }

    /// A script for the sandbox's `/bin/sh`.
    package init(
        key: String,
        script: String,
        environment: [String: String] = [:],
        workingDirectory: String? = nil,
        secrets: [String: [UInt8]] = [:]
    ) {
        self.init(
            key: key,
            arguments: ["/bin/sh", "-c", script],
            environment: environment,
            workingDirectory: workingDirectory,
            secrets: secrets
        )
    }
}
