import Artifacts
import Files
import HelperInterface
import OCI
import Sandbox
import SnapshotSteps
import Workflow

/// What a failed command says: what failed, why, what to type next. And the exit code that says the same.
struct ErrorReport {
    let code: ErrorCode
    let message: String
    private var run: String?
    private var step: String?
    private var attempt: Int?
    /// What to type next.
    let next: String

    var status: ExitStatus { code.status }

    init(_ error: any Error) {
        switch error {
        case let error as RunInterrupted:
            let runs = error.runs.map(\.description).joined(separator: " ")
            self.init(
                .interrupted, "interrupted; what was done so far is kept",
                next: "snapwf resume \(runs.isEmpty ? "--all" : runs)")
            run = error.runs.first?.description
        case let error as RunStopped:
            self.init(error)
        case let error as RunParked:
            self.init(error)
        case let error as RunFailure:
            self.init(error)
        case let error as ResultNotTold:
            self.init(
                .output, "snapshot \(error.snapshot) is made, but the result was not told: \(error.cause)",
                next: "snapwf show \(error.run)")
            run = error.run
        case let error as SnapshotError:
            self.init(.of(error.code), error.message)
        case let error as WorkflowError:
            // A cause in our own terms says more than the engine can.
            let cause = error.cause as? SnapshotError
            self.init(cause.map { .of($0.code) } ?? .of(error.code), error.description)
        case let error as SandboxError:
            self.init(.of(error.code), error.description)
        case let error as FileError where error.action.hasSuffix("standard output"):
            self.init(.output, error.description)
        case is OCIError, is ArtifactError, is FileError:
            let known = SnapshotError.translating(error) as? SnapshotError
            self.init(known.map { .of($0.code) } ?? .failed, known?.message ?? "\(error)")
        default:
            self.init(.failed, "\(error)")
        }
    }

    private init(_ code: ErrorCode, _ message: String, next: String? = nil) {
        self.code = code
        self.message = message.printable
        self.next = next ?? Self.command(in: self.message) ?? Self.command(for: code, self.message)
    }

    private init(_ error: RunStopped) {
        if let step = error.step {
            self.init(
                .inDoubt, error.error.description,
                next: "snapwf decide \(error.run) \(step) --run-again, or --done JSON, or --failed REASON; "
                    + "then snapwf resume \(error.run)")
            self.step = step
        } else {
            let cause = error.error.cause as? SnapshotError
            self.init(
                cause.map { .of($0.code) } ?? .unavailable, cause?.message ?? error.error.description,
                next: "snapwf resume \(error.run), which goes on in the same sandbox once that is mended")
        }
        run = error.run.description
    }

    private init(_ error: RunParked) {
        if let step = error.step {
            self.init(
                .inDoubt, error.reason,
                next: "snapwf decide \(error.run) \(step) --run-again, or --done JSON, or --failed REASON")
            self.step = step
        } else {
            self.init(
                .unavailable, "no worker can go on with the run: \(error.reason)",
                next: "snapwf resume \(error.run), which gives it to a worker again once that is mended")
        }
        run = error.run.description
    }

    private init(_ error: RunFailure) {
        let retry = "snapwf show \(error.run)"
        if error.status == .cancelled {
            self.init(.cancelled, "the run was cancelled", next: retry)
        } else if let known = error.snapshotError {
            // Nothing is near enough to the cause: the run's own story is.
            let code = ErrorCode.of(known.code)
            self.init(code, known.message, next: code == .failed ? retry : nil)
        } else {
            let code: ErrorCode =
                switch error.failure?.kind {
                case .resourceLost?: .sandboxLost
                case .timeout? where error.step == nil: .deadlinePassed
                default: .failed
                }
            self.init(code, error.failure?.message ?? "the run failed", next: retry)
        }
        run = error.run.description
        step = error.step?.name
        attempt = error.step?.attempt
    }

    /// The command that the message itself names, because only where it was written the registry, the program or the run is known.
    private static func command(in message: String) -> String? {
        for (beginning, words) in [("docker login ", 3), ("apt-get install ", 3)] {
            guard let start = message.firstRange(of: beginning)?.lowerBound else { continue }
            let command = message[start...].split(whereSeparator: \.isWhitespace).prefix(words).joined(separator: " ")
            let cut = command.reversed().drop { ",;:.)".contains($0) }
            return String(cut.reversed())
        }
        // As in "it has not ended: snapwf rm --force 01m8".
        guard let found = message.ranges(of: ": snapwf ").last else { return nil }
        return String(message[found.lowerBound...].dropFirst(2).prefix { !",;()\n".contains($0) })
    }

    /// Where nothing is nearer than the kind of error.
    private static func command(for code: ErrorCode, _ message: String) -> String {
        // Files have no tags that a registry could list.
        if code == .imageNotFound, message.contains("OCI layout ") || message.contains("archive ") {
            return "snapwf help names"
        }
        return code.next ?? "snapwf help errors \(code.name)"
    }

    /// For a person, on standard error.
    var text: String { text(styled: Style(isOn: false)) }

    func text(styled style: Style) -> String {
        var text = style.bad("snapwf:") + " \(message)\n"
        if let run {
            text += "  run \(run)"
            if let step { text += ", step \(step)" }
            if let attempt { text += ", attempt \(attempt)" }
            text += "\n"
        }
        text += (code == .interrupted ? "Resume with: " : "  next: ") + "\(style.strong(next))\n"
        return text
    }

    var document: ErrorDocument {
        ErrorDocument(
            error: .init(
                code: code.name, message: message, run: run, step: step, attempt: attempt, next: next,
                exitCode: status.rawValue))
    }
}
