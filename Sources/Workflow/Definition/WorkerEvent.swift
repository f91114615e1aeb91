/// What a worker tells of the runs that it takes.
public enum WorkerEvent: Sendable {
    /// It begins to execute the run, which is as it was when it was taken.
    case began(RunRecord)
    /// It executes the run no more.
    case ended(RunRecord, Ending)

    /// How a worker stopped to execute a run.
    public enum Ending: Sendable {
        /// With its output as JSON.
        case succeeded(String)
        case failed(Failure)
        case cancelled
        /// It is told to stop, and another worker goes on.
        case released
        /// No worker goes on until somebody deals with this.
        case parked(WorkflowError)
        /// The run was taken over, or could not be held or recorded any more.
        case lost(WorkflowError)
    }
}

/// What a worker does for one of its queues.
public struct WorkerLoad: Sendable, Hashable {
    /// The queue.
    public let queue: String
    /// How many of its runs work.
    public let working: Int
    /// How many of its runs it holds that sleep, or wait for something.
    public let resting: Int
    /// Whether it takes none because of ``Worker/pause(_:for:)``.
    public let isPaused: Bool
}

extension WorkerEvent.Ending {
    init(_ outcome: RunOutcome) {
        switch outcome {
        case .succeeded(let output): self = .succeeded(output)
        case .failed(let failure, _): self = .failed(failure)
        case .cancelled: self = .cancelled
        case .stopped(let reason):
            switch reason.code {
            case .interrupted, .engineClosed: self = .released
            case .takenOver, .storeFull, .storeBusy, .storeUnavailable, .storeCorrupt, .storeFailed:
                self = .lost(reason)
            default: self = .parked(reason)
            }
        }
    }
}
