import SnapshotSteps

/// `snapwf run --json`
struct ResultDocument: Encodable {
    let schema = 1
    let result: SnapshotResult
    let run: String
    let seconds: Double
}
