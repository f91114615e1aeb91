import FoundationEssentials
import Workflow

/// `snapwf resume --plan`: what a resume would do, told before anything happens.
struct PlanDocument: Encodable {
    struct Step: Encodable {
        let name: String
        let scope: String
        let kind: String
        let state: String
        let attempts: Int
        let action: String
        /// When the next attempt is due, or the sleep ends.
        let at: Date?
        let error: String?
        /// The action for a person.
        let words: String

        private enum CodingKeys: String, CodingKey { case name, scope, kind, state, attempts, action, at, error }
    }
    struct Resource: Encodable {
        let name: String
        let kind: String
        let generation: Int
        let state: String
        let id: String?
        let action: String
        let error: String?
        let words: String

        private enum CodingKeys: String, CodingKey { case name, kind, generation, state, id, action, error }
    }
    let schema = 1
    let run: RunDocument
    let heldBy: String?
    let cancelRequested: Bool
    let pastDeadline: Bool
    /// The steps that a resume would stop at until somebody decides.
    let undecided: [String]
    let steps: [Step]
    let resources: [Resource]

    init(_ plan: ResumePlan, now: Date) {
        run = RunDocument(plan.run)
        heldBy = plan.run.holder
        cancelRequested = plan.isCancelRequested
        pastDeadline = plan.isPastDeadline
        // What is under way is not in doubt, and a run that only ends begins no step.
        let onlyEnds = plan.isCancelRequested || plan.isPastDeadline
        undecided = heldBy == nil && !onlyEnds ? plan.undecided.map(\.record.name) : []
        steps = plan.steps.map { Step($0, onlyEnds: onlyEnds, now: now) }
        resources = plan.resources.map { Resource($0, onlyEnds: onlyEnds) }
    }

    var text: String {
        var text = table(facts)
        if !steps.isEmpty {
            text += "\n"
            text += table(
                [["STEP", "STATE", "ATTEMPTS", "A RESUME"]]
                    + steps.map { [$0.name, $0.state, "\($0.attempts)", $0.words] })
        }
        if !resources.isEmpty {
            text += "\n"
            text += table(
                [["RESOURCE", "GENERATION", "STATE", "ID", "A RESUME"]]
                    + resources.map { [$0.name, "\($0.generation)", $0.state, $0.id ?? "-", $0.words] })
        }
        if !undecided.isEmpty { text += "\n" + advice }
        return text
    }

    private var facts: [[String]] {
        var rows = [
            ["run", run.id], ["status", run.standing + (heldBy.map { " (\($0))" } ?? "")], ["image", run.image],
        ]
        if heldBy != nil { rows.append(["note", "it is at work; this is what a resume would do if it died now"]) }
        if cancelRequested {
            rows.append(["note", "its cancellation was asked for: a resume only releases what it owns"])
        } else if pastDeadline {
            rows.append(["note", "its deadline has passed: a resume only releases what it owns, and it fails"])
        }
        if let queue = run.queue, !queue.parked {
            rows.append(["next", "snapwf worker --queue \(queue.name)"])
        } else if heldBy == nil, undecided.isEmpty {
            rows.append(["next", "snapwf resume \(run.id)"])
        }
        return rows
    }

    private var advice: String {
        """
        Needs a decision: \(undecided.joined(separator: ", ")).
        Nobody recorded whether its effect happened, and it may not simply happen twice. A resume stops there and
        changes nothing. Look outside, then say what you found:
          snapwf decide \(run.id) \(undecided.first ?? "STEP") --run-again | --done JSON | --failed REASON
        or give the run up: snapwf cancel \(run.id)

        """
    }
}

extension PlanDocument.Step {
    fileprivate init(_ step: ResumePlan.Step, onlyEnds: Bool, now: Date) {
        let record = step.record
        var at: Date?
        var error = record.failure?.message
        let action: String
        var words: String
        let next = record.attempt + 1
        switch step.action {
        case .useOutput: (action, words) = ("use-output", record.kind == .sleep ? "is past it" : "uses its output")
        case .throwFailure(let failure):
            (action, words) = ("throw-failure", "fails as recorded: \(failure.message)")
            error = failure.message
        case .retry(let due):
            at = due
            (action, words) = (
                "retry", "tries again \(Self.wait(until: due, now)), attempt \(next)\(Self.after(error))"
            )
        case .runAgain: (action, words) = ("run-again", "runs it again, attempt \(next): repeating it is safe")
        case .verify: (action, words) = ("verify", "finds out whether it happened")
        case .ask: (action, words) = ("ask", "stops here: somebody has to decide")
        case .sleep(let end):
            at = end
            (action, words) = ("sleep", "wakes \(Self.wait(until: end, now))")
        case .takeAgain: (action, words) = ("take-again", "takes it again: what it was taken in is gone")
        }
        if onlyEnds {
            switch step.action {
            case .useOutput, .throwFailure: break
            default: words = "does not take it"
            }
        }
        self.init(
            name: record.name, scope: record.scope, kind: record.kind.rawValue, state: record.state.rawValue,
            attempts: record.attempt, action: action, at: at, error: error, words: words)
    }

    private static func wait(until due: Date, _ now: Date) -> String {
        due <= now ? "at once" : "in \(spanText(now.distance(to: due)))"
    }

    private static func after(_ error: String?) -> String { error.map { " (\($0))" } ?? "" }
}

extension PlanDocument.Resource {
    fileprivate init(_ resource: ResumePlan.Resource, onlyEnds: Bool) {
        let record = resource.record
        let (action, words): (String, String) =
            switch resource.action {
            case .findOrCreate where onlyEnds: ("find-or-create", "looks for what exists and releases it")
            case .findOrCreate: ("find-or-create", "looks for what exists, else creates it")
            case .use where onlyEnds: ("use", "releases it")
            case .use: ("use", "uses it, if it is still alive")
            case .finishRelease: ("finish-release", "goes on releasing it")
            case .nextGenerationIfNeeded where onlyEnds: ("next-generation-if-needed", "has nothing to do")
            case .nextGenerationIfNeeded: ("next-generation-if-needed", "creates the next one if a step needs it")
            }
        self.init(
            name: record.name, kind: record.kind, generation: record.generation, state: record.state.rawValue,
            id: record.externalID, action: action, error: record.failure?.message, words: words)
    }
}
