/// When a request may be sent again, and after which wait: exponential backoff with full jitter. Pure decisions.
package struct RetryPolicy: Hashable, Sendable {
    /// Requests of one call, the first included.
    package var attempts = 4
    /// The upper bound of the first wait; it doubles with each further one.
    package var firstDelay: Duration = .milliseconds(200)
    /// No wait that is chosen here is longer.
    package var longestDelay: Duration = .seconds(5)
    /// A `Retry-After` longer than this is not waited for.
    package var longestRetryAfter: Duration = .seconds(60)

    package init() {}

    /// Whether a call that failed `failures` times may be made once more.
    ///
    /// One with an effect of its own only if the failed request certainly had none.
    func allowsRetry(of repeatability: Repeatability, after failure: CallFailure, failures: Int) -> Bool {
        failure.isPassing && failures < attempts
            && (failure.error.retryAfter ?? .zero) <= longestRetryAfter
            && (repeatability != .once || !failure.error.isAmbiguous)
    }

    /// The wait after `failures` failed requests (1 or more); what the server asked for is its lower bound.
    func delay(afterFailures failures: Int, retryAfter: Duration?, random: Double) -> Duration {
        var bound = firstDelay
        for _ in 1..<max(1, min(failures, 40)) { bound = min(bound * 2, longestDelay) }
        return (retryAfter ?? .zero) + min(bound, longestDelay) * max(0, min(1, random))
    }
}

/// Why one request failed.
struct CallFailure: Error {
    var error: ConnectError
    /// Whether the same request may succeed later.
    var isPassing: Bool
    /// Whether the server has answered, and this is what it said.
    var isAnswer = false

    init(_ error: ConnectError, isPassing: Bool = false) {
        self.error = error
        self.isPassing = isPassing
    }
}
