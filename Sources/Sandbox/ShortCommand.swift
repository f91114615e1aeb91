/// A command that is over within seconds and whose output fits in memory.
///
/// Anything longer is a ``DurableCommand``: nothing may depend on a stream that stays open.
package struct ShortCommand: Sendable {
    /// The program (looked up in the sandbox's `PATH`) and its arguments; never a secret in it.
    package var arguments: [String]
    /// Added to the sandbox's own small environment.
    package var environment: [String: String]
    /// Bytes for standard input; `nil` or empty: end of file at once.
    package var standardInput: [UInt8]?
    /// `nil`: the provider's work directory.
    package var workingDirectory: String?
    /// After this the command's process group is killed and ``SandboxError/Code/commandTimedOut`` is thrown.
    package var deadline: Duration
    /// The most bytes of standard output, and of standard error (there at least 64 KiB). More: the command is killed
    /// and ``SandboxError/Code/outputTooLarge`` is thrown.
    package var outputLimit: Int

    package init(
        _ arguments: [String],
        environment: [String: String] = [:],
        standardInput: [UInt8]? = nil,
        workingDirectory: String? = nil,
        deadline: Duration = .seconds(30),
        outputLimit: Int = 2 << 20
    ) {
        self.arguments = arguments
        self.environment = environment
        self.standardInput = standardInput
        self.workingDirectory = workingDirectory
        self.deadline = deadline
        self.outputLimit = outputLimit
    }

    /// A script for the sandbox's `/bin/sh`; the arguments are `$1`, `$2` ….
    package static func shell(_ script: String, _ arguments: [String] = []) -> ShortCommand {
        ShortCommand(["/bin/sh", "-c", script, "sh"] + arguments)
    }

    /// - Throws: code `invalidArgument` for what execve(2) cannot pass on.
    func validate() throws(SandboxError) {
        guard !arguments.isEmpty else { throw SandboxError(.invalidArgument, "the command is empty") }
        guard !arguments.contains(where: { $0.utf8.contains(0) }) else {
            throw SandboxError(.invalidArgument, "an argument of the command holds a zero byte")
        }
        guard environment.keys.allSatisfy({ !$0.isEmpty && !$0.contains("=") }) else {
            throw SandboxError(.invalidArgument, "an environment variable's name is empty or holds '='")
        }
    }
}

/// What a short command left.
package struct CommandOutput: Hashable, Sendable {
    /// 0…255; 128 + n when signal n ended it.
    package var exitCode: Int32
    package var standardOutput: [UInt8]
    package var standardError: [UInt8]

    package init(exitCode: Int32, standardOutput: [UInt8], standardError: [UInt8]) {
        self.exitCode = exitCode
        self.standardOutput = standardOutput
        self.standardError = standardError
    }

    /// Standard output as text; bytes that are not UTF-8 are replaced.
    package var text: String { String(decoding: standardOutput, as: UTF8.self) }
    /// Standard error as text; bytes that are not UTF-8 are replaced.
    package var errorText: String { String(decoding: standardError, as: UTF8.self) }
    /// Why it failed: what it said, or how it ended where it said nothing.
    package var reason: String {
        let said = errorText.trimmed
        guard said.isEmpty else { return said }
        return isKilled ? "it was ended by signal \(exitCode - 128)" : "it ended with exit code \(exitCode)"
    }
    /// Whether a signal ended it, as far as an exit code can tell.
    package var isKilled: Bool { (129...192).contains(exitCode) }
}

/// Where the bytes of a file to be written come from.
package enum FileContents: Sendable {
    case bytes([UInt8])
    /// A file of this host, streamed; it must not change meanwhile.
    case hostFile(String)
}
