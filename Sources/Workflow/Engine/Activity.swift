/// How many bodies and sleeps of a run are under way, and what the run's row says about it.
struct Activity: Sendable {
    private var bodies = 0
    private var sleeps: [String: Timestamp] = [:]
    private var recorded: RunWrite?

    mutating func beginBody() -> RunWrite? {
        bodies += 1
        return change()
    }

    mutating func endBody() {
        // The row is set back to sleeping with the next write of a sleep, not by a commit of its own.
        bodies -= 1
    }

    mutating func beginSleep(_ name: String, until due: Timestamp) -> RunWrite? {
        sleeps[name] = due
        return change()
    }

    mutating func endSleep(_ name: String) -> RunWrite? {
        sleeps[name] = nil
        return change()
    }

    /// The write that brings the row up to date, if it is not.
    private mutating func change() -> RunWrite? {
        let wakeAt = bodies == 0 ? sleeps.values.min() : nil
        if let wakeAt {
            if case .status(.sleeping, wakeAt) = recorded { return nil }
            recorded = .status(.sleeping, wakeAt: wakeAt)
        } else {
            // A claimed run's row says "running".
            if recorded == nil { return nil }
            recorded = nil
            return .status(.running, wakeAt: nil)
        }
        return recorded
    }
}
