/// How often a step was begun, and how these attempts ended.
struct AttemptLedger: Sendable {
    /// Attempts begun.
    var attempt: Int
    /// Attempts that failed.
    var failures: Int
    /// Attempts that died with their process.
    var crashes: Int
    var progress: String?

    init(_ record: StepRecord?) {
        attempt = record?.attempt ?? 0
        failures = record?.failures ?? 0
        crashes = record?.crashes ?? 0
        progress = record?.progress
    }
}
