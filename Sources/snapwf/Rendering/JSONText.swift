import FoundationEssentials
import SnapshotSteps
import Workflow

/// JSON as this program prints it: sorted keys, ISO times, slashes as they are.
enum JSONText {
    /// A document over several lines.
    static func document(_ value: some Encodable) -> String { text(value, [.prettyPrinted]) }
    /// A document on one line.
    static func line(_ value: some Encodable) -> String { text(value, []) }

    private static func text(_ value: some Encodable, _ formatting: JSONEncoder.OutputFormatting) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = formatting.union([.sortedKeys, .withoutEscapingSlashes])
        encoder.dateEncodingStrategy = .iso8601
        do {
            return String(decoding: try encoder.encode(value), as: UTF8.self) + "\n"
        } catch {
            // All documents are made of strings, numbers and booleans; this cannot be reached.
            return "{\"schema\":1,\"error\":{\"message\":\"the document could not be encoded\"}}\n"
        }
    }
}

/// `snapwf run --json`
struct ResultDocument: Encodable {
    let schema = 1
    let result: SnapshotResult
    let run: String
    let seconds: Double
}

/// `snapwf … --json`, when it failed.
struct ErrorDocument: Encodable {
    struct Content: Encodable {
        let code: String
        let message: String
        let run: String?
        let step: String?
        let attempt: Int?
        let next: String?
        let exitCode: Int32
    }
    let schema = 1
    let error: Content
}

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
