public import Foundation
public import Logging

/// What the engine needs from its surroundings.
public struct EngineConfiguration: Sendable {
    /// Where the engine and its runs log.
    public var logger: Logger
    /// The clock of due times, deadlines and records.
    public var clock: any EngineClock
    /// Makes the ids of new runs.
    public var makeRunID: @Sendable (Date) -> RunID
    /// An even draw from all of `UInt64`, for the jitter of retries.
    public var random: @Sendable () -> UInt64
    /// The largest JSON of an input, output, progress report or event, in bytes.
    public var payloadLimit: Int
    /// How this executor calls itself to others that find its runs held.
    public var ownerDescription: String
    /// How many attempts of one step may die with their process before the step fails for good.
    public var crashLimit: Int
    /// How often a request for cancellation from another process is looked for.
    public var cancellationPollInterval: Duration
    /// How long a cancelled body may take to end before it is left behind.
    public var cancellationGrace: Duration
    /// How often progress reports of one step reach the disk at most.
    public var progressInterval: Duration
    /// Called synchronously at every ``CrashPoint``; it must not block for long.
    public var probe: (@Sendable (CrashPoint) -> Void)?

    /// Makes a configuration.
    public init(
        logger: Logger = Logger(label: "workflow"),
        clock: any EngineClock = SystemClock(),
        makeRunID: @escaping @Sendable (Date) -> RunID = { RunID(time: $0) },
        random: @escaping @Sendable () -> UInt64 = { .random(in: .min ... .max) },
        payloadLimit: Int = 1 << 20,
        ownerDescription: String = ProcessInfo.processInfo.processName,
        crashLimit: Int = 100,
        cancellationPollInterval: Duration = .milliseconds(500),
        cancellationGrace: Duration = .seconds(5),
        progressInterval: Duration = .milliseconds(500),
        probe: (@Sendable (CrashPoint) -> Void)? = nil
    ) {
        self.logger = logger
        self.clock = clock
        self.makeRunID = makeRunID
        self.random = random
        self.payloadLimit = payloadLimit
        self.ownerDescription = ownerDescription
        self.crashLimit = crashLimit
        self.cancellationPollInterval = cancellationPollInterval
        self.cancellationGrace = cancellationGrace
        self.progressInterval = progressInterval
        self.probe = probe
    }
}
