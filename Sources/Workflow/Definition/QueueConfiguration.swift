/// How a worker takes runs from a queue.
///
/// Concurrency over all workers, rate and fairness hold for every worker of the queue: they are kept in the store, and
/// whichever worker was started last has set them, apart from those that keep what they find (``keepsLimits``).
public struct QueueConfiguration: Sendable, Hashable {
    /// So many runs may begin in any period of that length.
    public struct Rate: Sendable, Hashable {
        /// How many, at least 1.
        public let starts: Int
        /// The length, at least a millisecond.
        public let period: Duration

        /// Makes a rate; values out of range are brought into it.
        public init(starts: Int, per period: Duration) {
            self.starts = max(starts, 1)
            self.period = max(period, .milliseconds(1))
        }
    }

    /// The queue, 1 to 200 bytes without control characters.
    public var name: String
    /// How many of its runs this worker executes at once, at least 1. One that sleeps, or waits for a signal or for a run
    /// that it started, does not count.
    public var concurrency: Int
    /// How many of its runs all workers execute at once, at least 1; `nil` for no limit.
    public var totalConcurrency: Int?
    /// How many runs begin in a period, over all workers and by the store's clock; `nil` for no limit. A run that goes on
    /// after the death of a worker does not begin again.
    public var rate: Rate?
    /// The label between whose values the queue is fair: of runs with the same priority, each value gets one in turn. Runs
    /// without it count as one value. `nil` for the order of age alone.
    public var fairness: String?
    /// Whether ``totalConcurrency``, ``rate`` and ``fairness`` are left as the store has them; then nobody looks at those here.
    public var keepsLimits: Bool
    /// How many workers may die while one run works and gets no step done. After one more the run is not executed any more:
    /// what it owns is released and it fails with a ``Failure`` of the kind `crashed`; and if that kills as many workers again, it fails and
    /// leaves what it owns to the garbage collector.
    public var deathLimit: Int

    /// Makes a configuration; numbers out of range are brought into it.
    public init(
        _ name: String, concurrency: Int, totalConcurrency: Int? = nil, rate: Rate? = nil, fairness: String? = nil,
        keepsLimits: Bool = false, deathLimit: Int = 10
    ) {
        self.name = name
        self.concurrency = max(concurrency, 1)
        self.totalConcurrency = totalConcurrency.map { max($0, 1) }
        self.rate = rate
        self.fairness = fairness
        self.keepsLimits = keepsLimits
        self.deathLimit = max(deathLimit, 1)
    }

    var settings: QueueSettings {
        QueueSettings(
            name: name, concurrency: totalConcurrency, rateLimit: rate?.starts,
            ratePeriod: rate.map { max($0.period.wholeMilliseconds, 1) }, fairness: fairness)
    }
}
