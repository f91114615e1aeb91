/// When to try again, and how long to wait before: exponential backoff with full jitter.
package struct RetryPolicy: Sendable {
    /// Tries of one request, the first included; and transfers of a blob in a row that brought no progress.
    package var attempts = 6
    /// The upper bound of the first wait; it doubles with each further one.
    package var firstDelay: Duration = .milliseconds(250)
    /// No wait that we choose is longer.
    package var longestDelay: Duration = .seconds(20)
    /// A `Retry-After` longer than this is not waited for: the request fails with `tooManyRequests`.
    package var longestRetryAfter: Duration = .seconds(120)

    package init() {}

    /// The wait after `failures` failed tries (1 or more).
    ///
    /// Full jitter: evenly between zero and the bound, so that many clients do not come back together. What the
    /// server asks for in `Retry-After` is a lower bound on top of which the jitter goes.
    func delay(afterFailures failures: Int, retryAfter: Duration?, random: Double) -> Duration {
        var bound = firstDelay
        for _ in 1..<max(1, min(failures, 40)) {
            bound = min(bound * 2, longestDelay)
        }
        return (retryAfter ?? .zero) + min(bound, longestDelay) * max(0, min(1, random))
    }

    /// Whether a request that failed `failures` times may be sent once more.
    func allowsRetry(afterFailures failures: Int, error: OCIError, retryAfter: Duration?) -> Bool {
        error.isRetryable && failures < attempts && (retryAfter ?? .zero) <= longestRetryAfter
    }
}
