import FoundationEssentials
import Workflow

/// What happened in a run: in `show --json`, and one line of `--progress json` and of `logs --json`.
struct EventDocument: Encodable {
    /// Only where it is a document of its own.
    let schema: Int?
    let at: Date
    let attempt: Int?
    let kind: String
    let name: String?
    let run: String

    init(_ event: EventRecord, isLine: Bool = false) {
        schema = isLine ? 1 : nil
        at = event.at
        attempt = event.attempt
        kind = event.kind
        name = event.name
        run = event.runID.description
    }
}

/// One line of `--progress json`: what is no event of the run.
struct Note: Encodable {
    let schema = 1
    let note: String
}
