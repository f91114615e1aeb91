/// When a durable command is asked about, and for how long nobody's answer is accepted.
///
/// The clock is injected, so tests need not wait.
package struct CommandPacing: Sendable {
    /// The pause after the first question.
    package var firstPause: Duration
    /// Pauses grow by half up to this.
    package var longestPause: Duration
    /// How long a claim may stay without a process before it counts as a dead claimant's.
    package var claimPatience: Duration
    /// How long questions may go unanswered in a row.
    package var unknownBudget: Duration
    /// Monotonic time; only differences count.
    package var now: @Sendable () -> Duration
    package var sleep: @Sendable (Duration) async throws -> Void

    package init(
        firstPause: Duration = .seconds(1),
        longestPause: Duration = .seconds(15),
        claimPatience: Duration = .seconds(5),
        unknownBudget: Duration = .seconds(600),
        now: @escaping @Sendable () -> Duration = { SteadyClock.now() },
        sleep: @escaping @Sendable (Duration) async throws -> Void = { try await Task.sleep(for: $0) }
    ) {
        self.firstPause = firstPause
        self.longestPause = longestPause
        self.claimPatience = claimPatience
        self.unknownBudget = unknownBudget
        self.now = now
        self.sleep = sleep
    }

    /// 1 s → 15 s.
    package static let remote = CommandPacing()
    /// 20 ms → 1 s, for providers whose answers cost next to nothing.
    package static let local = CommandPacing(firstPause: .milliseconds(20), longestPause: .seconds(1))

    func pause(after previous: Duration?) -> Duration {
        guard let previous else { return min(firstPause, longestPause) }
        return min(previous + previous / 2, longestPause)
    }
}
