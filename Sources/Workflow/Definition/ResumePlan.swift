public import Foundation

/// What a resume would do, told before anything happens.
public struct ResumePlan: Sendable, Hashable {
    /// What would become of one recorded step.
    public enum StepAction: Sendable, Hashable {
        /// Its recorded output is used.
        case useOutput
        /// Its recorded failure is thrown again.
        case throwFailure(Failure)
        /// Its last attempt failed; the next one is due then.
        case retry(at: Date)
        /// It is in doubt and is run again, because it is declared idempotent.
        case runAgain
        /// It is in doubt and finds out by itself what happened.
        case verify
        /// It is in doubt and the run is held until somebody decides.
        case ask
        /// The sleep goes on until then.
        case sleep(until: Date)
        /// It belongs to an earlier generation of its resource and is taken again.
        case takeAgain
    }

    /// What would become of the newest generation of a resource.
    public enum ResourceAction: Sendable, Hashable {
        /// Its creation is in doubt: what exists is looked for and adopted, else it is created.
        case findOrCreate
        /// It is used as it is, if it is still alive.
        case use
        /// Its release goes on.
        case finishRelease
        /// It is gone; the next generation is created if a step still needs it.
        case nextGenerationIfNeeded
    }

    /// A recorded step and what would become of it.
    public struct Step: Sendable, Hashable {
        /// The row.
        public let record: StepRecord
        /// What a resume would do.
        public let action: StepAction
    }

    /// A resource and what would become of it.
    public struct Resource: Sendable, Hashable {
        /// The ledger entry.
        public let record: ResourceRecord
        /// What a resume would do.
        public let action: ResourceAction
    }

    /// The run.
    public let run: RunRecord
    /// Its recorded steps, in the order in which they first began.
    public let steps: [Step]
    /// The newest generation of each of its resources.
    public let resources: [Resource]
    /// Whether the run was asked to cancel: a resume then only releases.
    public let isCancelRequested: Bool
    /// Whether the run is past its deadline: a resume then only releases, and the run fails.
    public let isPastDeadline: Bool

    /// The steps that would hold the run.
    public var undecided: [Step] { steps.filter { $0.action == .ask } }
}
