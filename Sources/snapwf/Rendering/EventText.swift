import FoundationEssentials
import SnapshotSteps
import Workflow

extension EventRecord {
    /// The failure that its payload holds, if it does.
    var failure: Failure? {
        payload.flatMap { try? JSONDecoder().decode(Failure.self, from: Data($0.utf8)) }
    }

    /// What happened, in a few words.
    var words: String {
        let because = failure.map { ": \($0.message)" } ?? ""
        let attempt = attempt.map { " \($0)" } ?? ""
        switch kind {
        case "run.enqueued": return "waits in its queue"
        case "run.parked":
            return "no worker goes on with it" + ([self].reasonToPark.map { ": \($0)" } ?? "")
        case "run.started": return "started"
        case "run.resumed": return "resumed"
        case "run.child_started": return "left to a worker" + id
        case "run.cancel_requested": return "its cancellation was asked for"
        case "run.succeeded": return "succeeded"
        case "run.failed": return "failed" + because
        case "run.cancelled": return "cancelled"
        case "step.started": return "attempt\(attempt) began"
        case "step.progress": return "reported progress"
        case "step.done": return "done"
        case "step.failed": return "attempt\(attempt) failed for good" + because
        case "step.retrying": return "attempt\(attempt) failed, tries again" + because
        case "step.interrupted": return "attempt\(attempt) was interrupted"
        case "step.in_doubt": return "in doubt: nobody knows whether attempt\(attempt) had its effect"
        case "step.decided": return "somebody decided" + (payload.map { ": \($0)" } ?? "")
        case "resource.intended": return "is being made"
        case "resource.held": return "ready" + id
        case "resource.retrying": return "failed, tries again" + because
        case "resource.lost": return "lost"
        case "resource.releasing": return "is being killed"
        case "resource.released": return "killed"
        case "resource.release_failed": return "could not be killed" + because
        case SandboxLabel.noteEvent:
            return "note: " + (payload.flatMap { try? JSONDecoder().decode(String.self, from: Data($0.utf8)) } ?? "")
        default: return kind + (payload.map { " \($0)" } ?? "")
        }
    }

    private var id: String {
        payload.flatMap { try? JSONDecoder().decode([String: String].self, from: Data($0.utf8)) }?["id"].map {
            " (\($0))"
        }
            ?? ""
    }

    /// A line of `snapwf logs`.
    var line: String {
        "\(localTime(at, milliseconds: true))  \((name ?? "run").filled(to: 13))  \(words.printable)\n"
    }
}
