/// Keeps a worker from looking too often for runs that are not there.
///
/// In a busy store much is told that is nothing to a queue, and each look costs the store a transaction. A few looks follow
/// at once whatever they find, and behind each that found something; of more, one in ``interval``.
struct VainLooks {
    /// How often is looked in vain in the long run.
    static let interval = Duration.milliseconds(50)
    /// How many looks in vain follow each other at once.
    static let burst = 4

    /// What was looked in vain until now is paid for then.
    private var paid: ContinuousClock.Instant?

    /// A look was not in vain: what it found tells of itself again when it ends.
    mutating func forgive() { paid = nil }

    /// A look at `now` was in vain.
    ///
    /// - Returns: when the next may be made; `nil` when at once.
    mutating func next(after now: ContinuousClock.Instant) -> ContinuousClock.Instant? {
        let paid = max(paid ?? now, now) + Self.interval
        self.paid = paid
        let next = paid - Self.interval * Self.burst
        return next > now ? next : nil
    }
}
