import HelperInterface
import OCI
import Sandbox
import SnapshotSteps
import Workflow

/// What a failed command says: what failed, why, what to type next. And the exit code that says the same.
struct ErrorReport {
    let status: ExitStatus
    private let code: String
    let message: String
    private var run: String?
    private var step: String?
    private var attempt: Int?
    private var next: String?

    init(_ error: any Error) {
        switch error {
        case let error as RunInterrupted:
            self.init(.interrupted, "interrupted", "interrupted; the sandbox is kept")
            let runs = error.runs.map(\.description).joined(separator: " ")
            run = error.runs.first?.description
            next = "snapwf resume \(runs)"
        case let error as RunStopped where error.step != nil:
            self.init(.inDoubt, "in-doubt", error.error.description)
            run = error.run.description
            step = error.step
            next =
                "snapwf decide \(error.run) \(error.step ?? "") --run-again, or --done JSON, or --failed REASON; then "
                + "snapwf resume \(error.run)"
        case let error as RunStopped:
            let cause = error.error.cause as? SnapshotError
            self.init(
                cause?.exitStatus ?? .unavailable, cause?.code.rawValue ?? "unavailable",
                cause?.message ?? error.error.description)
            run = error.run.description
            next = "snapwf resume \(error.run), which goes on in the same sandbox once that is mended"
        case let error as RunFailure:
            self.init(error)
        case let error as ResultNotTold:
            self.init(
                .failed, "output", "snapshot \(error.snapshot) is made, but the result was not told: \(error.cause)")
            run = error.run
            next = "snapwf show \(error.run)"
        case let error as SnapshotError:
            self.init(error.exitStatus, error.code.rawValue, error.message)
        case let error as WorkflowError:
            self.init(error)
        case let error as SandboxError:
            let status: ExitStatus =
                switch error.code {
                case .credentials: .credentials
                case .invalidArgument: .usage
                case .outOfSpace, .ended, .outputTooLarge: .failed
                default: .unavailable
                }
            self.init(status, error.code.rawValue, error.description)
        default:
            self.init(.failed, "failed", "\(error)")
        }
    }

    private init(_ status: ExitStatus, _ code: String, _ message: String) {
        self.status = status
        self.code = code
        self.message = message
    }

    private init(_ error: RunFailure) {
        if error.status == .cancelled {
            self.init(.failed, "cancelled", "the run was cancelled")
        } else if let known = error.snapshotError {
            self.init(known.exitStatus, known.code.rawValue, known.message)
        } else {
            self.init(.failed, "failed", error.failure?.message ?? "the run failed")
        }
        run = error.run.description
        step = error.step?.name
        attempt = error.step?.attempt
        next = "snapwf show \(error.run)"
    }

    private init(_ error: WorkflowError) {
        switch error.code {
        case .unknownRun: self.init(.notFound, "unknown-run", error.description)
        case .inDoubt: self.init(.inDoubt, "in-doubt", error.description)
        case .runHeld: self.init(.failed, "run-held", error.description)
        case .alreadyFinished: self.init(.failed, "already-finished", error.description)
        case .storeNeedsMigration:
            self.init(.failed, "store-needs-migration", error.description)
            next = "snapwf gc --dry-run"
        case .storeNewerThanProgram: self.init(.failed, "store-newer-than-program", error.description)
        case .storeNotWritable: self.init(.failed, "store-not-writable", error.description)
        case .storeFull: self.init(.failed, "disk-full", error.description)
        case .storeBusy: self.init(.unavailable, "store-busy", error.description)
        case .storeCorrupt: self.init(.failed, "store-corrupt", error.description)
        default: self.init(.failed, "workflow", error.description)
        }
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
        if let next { text += (status == .interrupted ? "Resume with: " : "  next: ") + "\(style.strong(next))\n" }
        return text
    }

    var document: ErrorDocument {
        ErrorDocument(
            error: .init(
                code: code, message: message, run: run, step: step, attempt: attempt, next: next,
                exitCode: status.rawValue))
    }
}
