/// How many bodies and waits of a run are under way, and what the run's row says about it.
struct Activity: Sendable {
    private var bodies = 0
    /// When each wait ends, where that is known.
    private var waits: [String: Timestamp?] = [:]
    private var recorded: RunWrite?

    /// Whether the row says that the run sleeps.
    var isAsleep: Bool { recorded != nil }

    mutating func beginBody() -> RunWrite? {
        bodies += 1
        return change()
    }

    /// For a run that may not work while its row says that it sleeps.
    ///
    /// - Returns: `false` if it does; then nothing has begun.
    mutating func beginBodyIfAwake() -> Bool {
        guard recorded == nil else { return false }
        bodies += 1
        return true
    }

    /// The row was changed, so that the run may work.
    mutating func beginBodyRoused() {
        recorded = nil
        bodies += 1
    }

    mutating func endBody() {
        // The row is set back to sleeping with the next write of a sleep, not by a commit of its own.
        bodies -= 1
    }

    /// For a run that others may wait for while its row says that it works.
    mutating func endBodyAndSleep() -> RunWrite? {
        bodies -= 1
        return change()
    }

    mutating func beginSleep(_ name: String, until due: Timestamp?) -> RunWrite? {
        waits.updateValue(due, forKey: name)
        return change()
    }

    mutating func endSleep(_ name: String) -> RunWrite? {
        waits[name] = nil
        return change()
    }

    /// The wait was given up. Nothing is written: if the row says that the run sleeps, the next body that begins changes it.
    mutating func abandonSleep(_ name: String) {
        waits[name] = nil
    }

    /// - Returns: `nil` if the run has to work now: then nothing has ended.
    mutating func endSleepIfOthersGoOn(_ name: String) -> [RunWrite]? {
        guard bodies == 0, recorded != nil, waits.keys.contains(where: { $0 != name }) else { return nil }
        return endSleep(name).map { [$0] } ?? []
    }

    /// The write that brings the row up to date, if it is not.
    private mutating func change() -> RunWrite? {
        if bodies == 0, !waits.isEmpty {
            let wakeAt = waits.values.compactMap(\.self).min()
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
