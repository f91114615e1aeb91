/// A step failed for good. Thrown by ``RunContext/step(_:input:retry:timeout:heartbeat:inDoubt:_:)``, in the process in which it
/// happened just as in every later one.
public struct StepFailure: RetryClassifying, Hashable, CustomStringConvertible {
    /// The step's name.
    public let step: String
    /// How many attempts were begun.
    public let attempts: Int
    /// The last error.
    public let failure: Failure

    /// A step that failed for good is not retried by an enclosing one.
    public var isRetryable: Bool { false }

    /// The step, the number of attempts and the last error.
    public var description: String {
        let times = attempts == 1 ? "1 attempt" : "\(attempts) attempts"
        return "step '\(step)' failed after \(times): \(failure.message)"
    }
}

/// An error as the store keeps it.
public struct Failure: Sendable, Hashable, Codable {
    /// What kind of end it was.
    public enum Kind: String, Sendable, Hashable, Codable {
        /// An error was thrown.
        case error
        /// The attempt met its timeout or missed its heartbeat, or the run met its deadline.
        case timeout
        /// The run was cancelled.
        case cancelled
        /// The process was told to stop.
        case interrupted
        /// The process died more often in this step than is allowed.
        case crashed
        /// The resource of the scope was lost.
        case resourceLost
    }

    /// What kind of end it was.
    public let kind: Kind
    /// The Swift type of the error, for machines.
    public let type: String
    /// The error for people, at most 4096 bytes.
    public let message: String
    /// The step it came from, if it came from one.
    public let step: String?
    /// The error as JSON, if its type is `Encodable` and the JSON is small (16 KiB).
    public let payload: String?

    /// The error itself, if it was encodable and decodes as `type`.
    public func decoded<E: Error & Decodable>(as type: E.Type = E.self) -> E? {
        guard let payload else { return nil }
        return try? Payload.decode(type, from: payload)
    }
}
