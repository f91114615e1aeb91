public import Foundation

/// How far a run is.
public enum RunStatus: String, Sendable, Hashable, Codable, CaseIterable {
    /// Recorded, and never yet executed.
    case pending
    /// An executor works on it.
    case running
    /// An executor waits for a durable sleep to end.
    case sleeping
    /// Not finished, and nobody holds it: it can be resumed. Computed when read, never stored.
    case interrupted
    /// It returned.
    case succeeded
    /// It threw.
    case failed
    /// It was cancelled, and everything it reached was released.
    case cancelled

    /// Whether it has ended for good.
    public var isFinished: Bool {
        switch self {
        case .succeeded, .failed, .cancelled: true
        case .pending, .running, .sleeping, .interrupted: false
        }
    }
}

/// Who executes a run, or did so last.
public struct RunOwner: Sendable, Hashable, Codable {
    /// ``EngineConfiguration/ownerDescription`` of the executor.
    public let description: String
    /// Its process id.
    public let pid: Int32
    /// Its host name.
    public let host: String
    /// When it took the run.
    public let since: Date
}

/// A run as the store knows it.
public struct RunRecord: Sendable, Hashable, Identifiable {
    /// The run.
    public let id: RunID
    /// The workflow's name.
    public let workflow: String
    /// The workflow's version.
    public let version: Int
    /// How far it is, ``RunStatus/interrupted`` included.
    public let status: RunStatus
    /// How far it is by the row alone.
    public let recordedStatus: RunStatus
    /// The input as JSON.
    public let input: String
    /// SHA-256 of ``input`` in hexadecimal.
    public let inputHash: String
    /// What it was deduplicated by.
    public let dedupKey: String?
    /// The fencing number; every claim raises it.
    public let epoch: Int
    /// Who executes it, or did so last.
    public let owner: RunOwner?
    /// When its sleep ends.
    public let wakeAt: Date?
    /// When it has to be over; `nil` without a limit.
    public let deadlineAt: Date?
    /// When somebody asked for its cancellation.
    public let cancelRequestedAt: Date?
    /// The output as JSON, once it succeeded.
    public let output: String?
    /// The error, once it failed or was cancelled.
    public let failure: Failure?
    /// What the starter attached to it.
    public let labels: [String: String]
    /// When it was started.
    public let createdAt: Date
    /// When its row last changed. A claim that only raises the epoch does not count.
    public let updatedAt: Date
    /// When it ended.
    public let finishedAt: Date?
    /// Where it waits or waited for a worker; `nil` for a run without a queue.
    public internal(set) var queueing: Queueing?
    /// The run that started it; `nil` for one that was started from outside.
    public internal(set) var parent: Parent?

    /// How a run stands in its queue.
    public struct Queueing: Sendable, Hashable {
        /// The queue.
        public let queue: String
        /// Runs with a higher one are taken first.
        public let priority: Int
        /// How many workers died while it worked, since its last step was done.
        public let deaths: Int
        /// Whether no worker takes it until somebody deals with what stopped it: see ``Engine/unpark(_:)``.
        public let isParked: Bool
    }

    /// Whose child a run is.
    public struct Parent: Sendable, Hashable {
        /// The run that started it.
        public let id: RunID
        /// What that run calls it.
        public let name: String
    }
}

/// Which runs to list; newest first.
public struct RunQuery: Sendable, Hashable {
    /// Only runs in one of these states; all when `nil`.
    public var statuses: Set<RunStatus>?
    /// Only runs of this workflow.
    public var workflow: String?
    /// Only runs that carry all of these labels.
    public var labels: [String: String]
    /// Only runs older than this one, for paging.
    public var before: RunID?
    /// How many at most, 1 to 10 000.
    public var limit: Int

    /// Makes a query; without arguments it asks for the newest hundred.
    public init(
        statuses: Set<RunStatus>? = nil, workflow: String? = nil, labels: [String: String] = [:],
        before: RunID? = nil, limit: Int = 100
    ) {
        self.statuses = statuses
        self.workflow = workflow
        self.labels = labels
        self.before = before
        self.limit = min(max(limit, 1), 10_000)
    }
}

/// A step or a durable sleep as the store knows it.
public struct StepRecord: Sendable, Hashable {
    /// How far a step is.
    public enum State: String, Sendable, Hashable, Codable {
        /// An attempt was begun and its outcome is not known.
        case intended
        /// It has an output.
        case done
        /// Its last attempt failed: for good, or until ``StepRecord/nextAttemptAt``.
        case failed
    }

    /// What a row stands for.
    public enum Kind: String, Sendable, Hashable, Codable {
        /// A step.
        case step
        /// A durable sleep.
        case sleep
    }

    /// What a step declared about being in doubt.
    public enum Policy: String, Sendable, Hashable, Codable {
        /// Run again.
        case retry
        /// Hold for the operator.
        case ask
        /// Find out.
        case verify
    }

    /// The run.
    public let runID: RunID
    /// The step's name.
    public let name: String
    /// A step or a sleep.
    public let kind: Kind
    /// The chain of resource generations it belongs to, such as `sandbox#2`; empty outside of every scope.
    public let scope: String
    /// The generation of the innermost resource, 0 outside of every scope.
    public let generation: Int
    /// How far it is.
    public let state: State
    /// How many attempts were begun.
    public let attempt: Int
    /// How many attempts failed with an error or a timeout.
    public let failures: Int
    /// How many attempts died with their process.
    public let crashes: Int
    /// What it gives to the outside to recognise a repetition.
    public let idempotencyKey: String
    /// What happens when it is in doubt.
    public let inDoubtPolicy: Policy
    /// Its input as JSON, or `nil` without an input.
    public let input: String?
    /// SHA-256 of its input in hexadecimal, or `nil` without an input.
    public let inputHash: String?
    /// The output as JSON.
    public let output: String?
    /// The last error.
    public let failure: Failure?
    /// The last progress report as JSON.
    public let progress: String?
    /// When the next attempt is due, or when the sleep ends.
    public let nextAttemptAt: Date?
    /// When the current attempt is given up.
    public let deadlineAt: Date?
    /// When the first attempt began.
    public let startedAt: Date
    /// When it was done or failed for good.
    public let finishedAt: Date?
}

/// An entry of the ledger of resources.
public struct ResourceRecord: Sendable, Hashable {
    /// How far a resource is.
    public enum State: String, Sendable, Hashable, Codable, CaseIterable {
        /// It may exist: its creation was intended and its outcome is not known.
        case intended
        /// It exists and its handle is known.
        case held
        /// Its end was decided and is not confirmed.
        case releasing
        /// It ended.
        case released
        /// It was found lost.
        case lost

        /// Whether something may still exist outside.
        public var isOpen: Bool {
            switch self {
            case .intended, .held, .releasing: true
            case .released, .lost: false
            }
        }
    }

    /// The key it is found by.
    public let key: ResourceKey
    /// ``DurableResource/kind``.
    public let kind: String
    /// The chain of generations of the enclosing resources; empty at the top.
    public let scope: String
    /// How far it is.
    public let state: State
    /// The name under which the outside knows it, once known.
    public let externalID: String?
    /// The handle as JSON, once known.
    public let handle: String?
    /// How many attempts of its current creation or release failed.
    public let failures: Int
    /// The last error of its creation or release.
    public let failure: Failure?
    /// When the entry last changed.
    public let updatedAt: Date

    /// The run that owns it.
    public var runID: RunID { key.runID }
    /// The name of its scope.
    public var name: String { key.name }
    /// Which incarnation it is.
    public var generation: Int { key.generation }
}

/// One line of the append-only log.
public struct EventRecord: Sendable, Hashable {
    /// Its place in the log of the store; it only grows, and no number is used twice.
    public let seq: Int64
    /// The run.
    public let runID: RunID
    /// When it was recorded, by the store's clock.
    public let at: Date
    /// What happened: `run.…`, `step.…`, `sleep.…` and `resource.…` are the engine's, all others the application's.
    public let kind: String
    /// The step, sleep or resource it is about.
    public let name: String?
    /// The attempt it is about.
    public let attempt: Int?
    /// More about it, as JSON.
    public let payload: String?
}
