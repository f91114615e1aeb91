public import Foundation
public import Logging

/// What the body of a step knows about its attempt.
public struct StepContext: Sendable {
    /// The run.
    public let runID: RunID
    /// The step's name.
    public let name: String
    /// The same for a step through all its attempts and processes, and for no other step: letters, digits and `-`,
    /// at most 64 bytes. A new generation of the enclosing resource has a new one.
    public let idempotencyKey: String
    /// Which attempt this is, from 1. An attempt that died with its process counts.
    public let attempt: Int
    /// When the attempt is given up, by the store's clock; `nil` without a timeout.
    public let deadline: Date?
    /// The run's logger with the step's name in its metadata.
    public var logger: Logger {
        var logger = progress.execution.logger
        logger[metadataKey: "step"] = "\(name)"
        return logger
    }

    let progress: ProgressLog

    /// Records how far the attempt got, for the next attempt to read.
    ///
    /// Writes are throttled: the last report reaches the disk within about a second, and always when the attempt fails
    /// or is interrupted. After a crash the next attempt may see an earlier report.
    ///
    /// With a `heartbeat` each report says that the attempt is alive.
    ///
    /// - Throws: ``WorkflowError`` when the run was interrupted, cancelled or taken over, when the attempt is over
    ///   (`outsideStep`), or when the JSON is over the payload limit. A body does well to let it through.
    public func report(_ progress: some Codable & Sendable) async throws {
        try self.progress.report(progress)
    }

    /// What this or an earlier attempt reported last, in this generation.
    ///
    /// - Returns: `nil` if nothing was reported, or if it does not decode as `type`.
    public func lastProgress<P: Codable>(as type: P.Type = P.self) -> P? {
        progress.last(as: type)
    }
}
