/// What one question about a durable command found out.
package enum CommandVerdict: Sendable, CustomStringConvertible {
    /// Nobody has started it.
    case notStarted
    /// Somebody claimed it and has not recorded a process yet. The token tells claims apart.
    case claimed(token: String)
    case running
    /// The exit file is there. Nothing else counts as finished. 128 + n when signal n ended the command.
    case finished(exitCode: Int32)
    /// The process is gone without an exit file, or the machine was restarted: run it again.
    case lost(reason: String)
    /// The sandbox is unknown or over: the next generation's turn.
    case sandboxGone(reason: String)
    /// Nobody knows. Ask again, within a budget.
    case unknown(SandboxError)

    package var description: String {
        switch self {
        case .notStarted: "not started"
        case .claimed: "claimed, not yet running"
        case .running: "running"
        case .finished(let code): "finished with exit code \(code)"
        case .lost(let reason): "lost: \(reason)"
        case .sandboxGone(let reason): "sandbox gone: \(reason)"
        case .unknown(let error): "unknown: \(error.message)"
        }
    }
}

/// A verdict and the output that came with it.
package struct CommandStatus: Sendable {
    package var verdict: CommandVerdict
    /// The log from the offset that was asked for, at most 1 MiB. Standard output and standard error, interleaved.
    package var output: [UInt8]
    /// The offset after ``output``: ask from here next time. It stays valid when the command is run again.
    package var nextOffset: UInt64
    /// How long the log was. Greater than ``nextOffset``: there is more already.
    package var logSize: UInt64

    package init(verdict: CommandVerdict, output: [UInt8] = [], nextOffset: UInt64, logSize: UInt64) {
        self.verdict = verdict
        self.output = output
        self.nextOffset = nextOffset
        self.logSize = logSize
    }
}

/// What ``DurableCommandRunner/start(_:)`` did.
package enum CommandStart: Hashable, Sendable {
    /// This call started it.
    case started
    /// It was there already, running or finished.
    case attached
}

/// How ``DurableCommandRunner/wait(for:from:deadline:onOutput:)`` ended, when not by an error.
package enum CommandOutcome: Hashable, Sendable {
    /// The exit file was read, and the whole log was emitted.
    case finished(exitCode: Int32)
    /// Start it again; the offset stays valid.
    case lost(reason: String)
    /// The sandbox is unknown or over.
    case sandboxGone(reason: String)
}
