/// How often a failing attempt is repeated, and how long to wait in between.
///
/// The wait before attempt *n + 1* is drawn evenly from zero to `base · 2^(n-1)`, never more than `cap` ("full jitter").
/// The count of failures and the next due time are rows in the store: a crash neither forgets nor repeats them.
public struct RetryPolicy: Sendable, Hashable {
    /// How many attempts may fail before the step fails for good, at least 1.
    public let attempts: Int
    /// The upper limit of the first wait.
    public let base: Duration
    /// The upper limit of every wait.
    public let cap: Duration

    /// The first failure is final. An attempt that died with its process is still taken again.
    public static let none = RetryPolicy(attempts: 1, base: .zero, cap: .zero)

    /// Five attempts, waiting up to 1 s, 2 s, 4 s and 8 s.
    public static let `default` = RetryPolicy.exponential(attempts: 5)

    /// Exponential backoff with full jitter.
    ///
    /// - Parameters:
    ///   - attempts: 1 to 1000; other values are brought into that range.
    ///   - base: the upper limit of the first wait, not negative.
    ///   - cap: the upper limit of every wait, not negative.
    public static func exponential(
        attempts: Int, base: Duration = .seconds(1), cap: Duration = .seconds(60)
    ) -> RetryPolicy {
        RetryPolicy(attempts: attempts, base: base, cap: cap)
    }

    private init(attempts: Int, base: Duration, cap: Duration) {
        self.attempts = min(max(attempts, 1), 1000)
        self.base = max(base, .zero)
        self.cap = max(cap, .zero)
    }

    /// The longest wait after the given number of failures (from 1).
    func ceiling(afterFailures failures: Int) -> Duration {
        let doublings = min(max(failures - 1, 0), 40)
        let base = min(base, cap).wholeMilliseconds
        let (product, overflow) = base.multipliedReportingOverflow(by: 1 << Int64(doublings))
        return .milliseconds(overflow ? cap.wholeMilliseconds : min(product, cap.wholeMilliseconds))
    }

    /// The wait after the given number of failures, with `random` an even draw from all of `UInt64`.
    func delay(afterFailures failures: Int, random: UInt64) -> Duration {
        let ceiling = UInt64(clamping: ceiling(afterFailures: failures).wholeMilliseconds)
        return .milliseconds(Int64(clamping: random % (ceiling + 1)))
    }
}

/// An error that says by itself whether another attempt can help.
///
/// Errors that do not conform are retryable and their attempt counts as failed with a known outcome.
public protocol RetryClassifying: Error {
    /// Whether another attempt can succeed.
    var isRetryable: Bool { get }

    /// Whether the effect may have happened although the attempt failed (a broken connection, a time-out, a 5xx).
    ///
    /// The step's ``InDoubtPolicy`` then decides what comes next. `false` unless implemented.
    var isInDoubt: Bool { get }

    /// Whether only somebody outside can help: a token was revoked, a quota is used up.
    ///
    /// The run then stops with ``WorkflowError/Code/blocked(by:)``: it releases nothing, the attempt does not count against
    /// the step's retries, and a resume makes the next one. `false` unless implemented.
    var isBlocked: Bool { get }
}

extension RetryClassifying {
    /// The outcome is known unless an error says otherwise.
    public var isInDoubt: Bool { false }

    /// Time or another attempt helps, or nothing does, unless an error says otherwise.
    public var isBlocked: Bool { false }
}

/// An error that must not be retried, for code that has no error type of its own.
public struct TerminalError: RetryClassifying, CustomStringConvertible {
    /// What failed, why, and what to do next.
    public let message: String
    /// What caused it.
    public let cause: (any Error)?

    /// Makes a terminal error from a message a person can act on.
    public init(_ message: String, cause: (any Error)? = nil) {
        self.message = message
        self.cause = cause
    }

    /// Always `false`.
    public var isRetryable: Bool { false }

    /// The message, and the cause if there is one.
    public var description: String {
        guard let cause else { return message }
        return "\(message) (\(cause))"
    }
}
