/// Everything that the engine itself has to complain about.
public struct WorkflowError: RetryClassifying, CustomStringConvertible {
    /// What went wrong, for programs.
    public enum Code: Sendable, Hashable {
        /// The process was told to stop; the run can be resumed.
        case interrupted
        /// The run was cancelled.
        case cancelled
        /// Another executor took the run over; this one stopped and can write nothing more.
        case takenOver
        /// A living process holds the run.
        case runHeld(by: RunOwner?)
        /// The run has ended.
        case alreadyFinished(RunStatus)
        /// The run has not ended, or still owns something outside.
        case notFinished(RunStatus)
        /// No run has this id.
        case unknownRun
        /// No workflow is registered under the run's name.
        case unknownWorkflow
        /// The run was recorded by another workflow or another version of it.
        case versionMismatch
        /// The run's stored input does not match its hash, or does not decode.
        case inputMismatch
        /// A recorded step was taken with another input.
        case stepInputChanged
        /// A name was used twice in a run.
        case duplicateName
        /// A name is empty, too long, or holds control characters.
        case invalidName
        /// A timeout or another limit of time is not more than zero.
        case invalidDuration
        /// The run's context was used after its workflow had returned.
        case outsideRun
        /// The context of a resource was used after its scope was left.
        case outsideScope
        /// An attempt reported after it was over.
        case outsideStep
        /// The run took longer than it was given when it was started: what it owns is released and it fails.
        case deadlinePassed
        /// A payload is over the limit of ``EngineConfiguration/payloadLimit``.
        case payloadTooLarge
        /// A value cannot be encoded as JSON, or recorded JSON does not decode.
        case invalidPayload
        /// A step is in doubt and waits for ``Engine/decide(_:step:_:)``.
        case inDoubt(step: String)
        /// A step or a resource met an error that only somebody outside can end (``RetryClassifying/isBlocked``); then the run
        /// can be resumed.
        case blocked(by: String)
        /// A resource was lost more often than its limits allow.
        case resourceLostTooOften
        /// The resource could not be created, found or asked within its limits.
        case resourceUnavailable
        /// The run failed.
        case runFailed(Failure)
        /// The workers of a run died more often than its queue allows.
        case diedTooOften
        /// A run has as many signals that it has not received as it may have.
        case tooManySignals
        /// The file system of the store does not keep locks, so runs could not be held.
        case locksNotKept
        /// A ``StoreReader`` found no store, or one in which nothing was ever recorded.
        case noStore
        /// A ``StoreReader`` found a store of an older version, which an ``Engine`` has to open first.
        case storeNeedsMigration
        /// The store was written by a newer version of this program.
        case storeNewerThanProgram
        /// The store's directory or file cannot be written.
        case storeNotWritable
        /// The disk is full.
        case storeFull
        /// Another process kept the store locked for longer than the busy timeout.
        case storeBusy
        /// The server of the store could not be reached for longer than ``StoreConfiguration/reconnectTimeout``, or a lease
        /// could not be renewed in time.
        case storeUnavailable
        /// The store's runs were moved to another store, or are being moved: nothing is begun here any more.
        case storeMoved
        /// A store that runs were to be moved to holds others.
        case storeNotEmpty
        /// The store's file is damaged or no database.
        case storeCorrupt
        /// The store failed otherwise, for example with an I/O error.
        case storeFailed
        /// The engine was shut down, or the reader was closed.
        case engineClosed
    }

    /// What went wrong, for programs.
    public let code: Code
    /// What failed, why, and what to do next.
    public let message: String
    /// What caused it.
    public let cause: (any Error)?

    init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    /// None of these is helped by running a step again in the same process.
    public var isRetryable: Bool { false }

    /// The message, and the cause if there is one.
    public var description: String {
        guard let cause else { return message }
        return "\(message) (\(cause))"
    }
}
