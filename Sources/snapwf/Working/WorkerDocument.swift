import FoundationEssentials

/// One line of `snapwf worker --json`.
struct WorkerDocument: Encodable {
    enum Event: String, Encodable { case ready, began, ended, paused, foreign, unready, again, draining, stopped }

    let schema = 1
    let at: Date
    let event: Event
    var run: String?
    var queue: String?
    var image: String?
    /// `succeeded`, `failed`, `cancelled`, `released`, `parked` or `lost`.
    var outcome: String?
    var snapshot: String?
    var error: String?
    var seconds: Double?
    /// Of `ready`.
    var queues: [String]?
    var address: String?
    /// Of `stopped`: how many runs were executed.
    var executed: Int?
    /// Of `foreign`: how many there are now.
    var runs: Int?

    init(_ event: Event, at: Date = Date()) {
        self.event = event
        self.at = at
    }
}

extension WorkerDocument {
    /// The same for a person.
    var words: String {
        let what = "run \(run ?? "?")"
        let image = image.map { ": \($0)" } ?? ""
        switch event {
        case .ready:
            let pages = address.map { "\n  health and metrics: \($0)/readyz, /healthz, /metrics" } ?? ""
            return "snapwf: takes runs from \((queues ?? []).joined(separator: ", "))\(pages)"
        case .began: return "\(what) began\(image)"
        case .ended:
            let took = seconds.map { " in \(spanText($0))" } ?? ""
            let result = (snapshot.map { ", \($0)" } ?? "") + (error.map { ": \($0)" } ?? "")
            return "\(what) \(outcome ?? "ended")\(took)\(image)\(result)"
        case .paused:
            return
                "snapwf: queue \(queue ?? "?") pauses for \(spanText(seconds ?? 0)): its provider refuses requests (429)"
        case .foreign:
            let runs = runs ?? 0
            return
                "snapwf: queue \(queue ?? "?") holds \(runs == 1 ? "a run" : "\(runs) runs") of another version of snapwf, "
                + "left to its workers"
        case .unready: return "snapwf: no runs can be taken: \(error ?? "?")"
        case .again: return "snapwf: takes runs again"
        case .draining:
            guard let seconds else { return "snapwf: takes no more runs" }
            return
                "snapwf: takes no more runs; those at work have \(spanText(seconds)). Once more to leave at once."
        case .stopped: return "snapwf: stopped; \(executed ?? 0) runs executed"
        }
    }
}
