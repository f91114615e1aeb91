/// Something to do in the next transaction.
protocol CommitOperation: Sendable {
    var urgency: WriteUrgency { get }
    /// Called after the commit, in the order of submission, with the error if there was one.
    var completion: @Sendable ((any Error)?) -> Void { get }
}

/// What waits for the next transaction, and when that is due. A value: the thread around it only does as it says.
struct CommitQueue<Operation: CommitOperation>: Sendable {
    /// What goes into one transaction.
    struct Group: Sendable {
        let operations: [Operation]
        /// How many waited, these included.
        let queued: Int
        /// When the oldest of them came.
        let waitingSince: ContinuousClock.Instant
    }

    enum Next: Sendable {
        case take(Group)
        /// Nothing is due before, or ever (`nil`), unless something more comes.
        case wait(until: ContinuousClock.Instant?)
    }

    /// How many operations one transaction takes at most.
    static var groupLimit: Int { 1024 }

    private var waiting: [Operation] = []
    private var hurries = false
    /// When what does not hurry is committed without company.
    private var flushAt: ContinuousClock.Instant?
    /// When the oldest of those that wait came.
    private var waitingSince: ContinuousClock.Instant?
    /// Until when the thread looks at the queue again by itself: until then nobody need wake it for what can wait.
    private var lingersUntil: ContinuousClock.Instant?
    /// Whether the thread sleeps or is about to.
    private var isIdle = false

    var count: Int { waiting.count }

    /// - Returns: whether the thread has to be woken.
    mutating func append(
        _ operation: Operation, at now: ContinuousClock.Instant, flushDelay: Duration
    ) -> Bool {
        waiting.append(operation)
        if waitingSince == nil { waitingSince = now }
        switch operation.urgency {
        case .now: hurries = true
        case .withNext: flushAt = flushAt ?? now.advanced(by: flushDelay)
        }
        // A lone "done" is followed by the next intent in no time: to wake the thread for it would cost more than it.
        guard isIdle, hurries || lingersUntil == nil else { return false }
        isIdle = false
        return true
    }

    /// What the thread does next.
    mutating func next(at now: ContinuousClock.Instant, isStopping: Bool) -> Next {
        isIdle = false
        if waiting.isEmpty {
            if let until = lingersUntil, until > now { return rest(until: until) }
            lingersUntil = nil
            return rest(until: nil)
        }
        if !hurries, !isStopping, let flushAt, flushAt > now {
            lingersUntil = flushAt
            return rest(until: flushAt)
        }
        return .take(group(at: now))
    }

    /// A group was committed: more is likely to come soon.
    mutating func linger(until instant: ContinuousClock.Instant) {
        lingersUntil = instant
    }

    mutating func removeAll() -> [Operation] {
        defer { self = CommitQueue() }
        return waiting
    }

    private mutating func rest(until instant: ContinuousClock.Instant?) -> Next {
        isIdle = true
        return .wait(until: instant)
    }

    private mutating func group(at now: ContinuousClock.Instant) -> Group {
        let queued = waiting.count
        let since = waitingSince ?? now
        let operations: [Operation]
        if queued <= Self.groupLimit {
            operations = waiting
            waiting = []
            hurries = false
            flushAt = nil
            waitingSince = nil
        } else {
            operations = Array(waiting.prefix(Self.groupLimit))
            waiting.removeFirst(operations.count)
            hurries = waiting.contains { $0.urgency == .now }
            flushAt = now
        }
        return Group(operations: operations, queued: queued, waitingSince: since)
    }
}
