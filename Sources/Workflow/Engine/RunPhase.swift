/// What a run may do, as this process sees it. A value: every decision about it can be tested without a run.
enum RunPhase: Sendable {
    /// Effects may begin.
    case running
    /// No effect may begin, for the given reason; what the run owns is released.
    case cancelling(WorkflowError)
    /// Nothing may begin and nothing is released: somebody will come back for the run, or has it already.
    case stopped(WorkflowError)

    /// What may be asked of a run.
    enum Act {
        /// To answer from a checkpoint.
        case replay
        /// To begin a step or to create something.
        case effect
        /// To release something.
        case release
    }

    /// Why the act may not begin, or `nil` if it may.
    func objection(to act: Act) -> WorkflowError? {
        switch (self, act) {
        case (.stopped(let reason), _): reason
        case (.cancelling(let reason), .effect): reason
        case (.cancelling, .replay), (.cancelling, .release), (.running, _): nil
        }
    }

    /// The first reason stays.
    ///
    /// - Returns: whether this changed anything.
    mutating func cancel(_ reason: WorkflowError = .cancelled) -> Bool {
        guard case .running = self else { return false }
        self = .cancelling(reason)
        return true
    }

    /// The first reason to stop stays.
    ///
    /// - Returns: whether this changed anything.
    mutating func stop(_ reason: WorkflowError) -> Bool {
        if case .stopped = self { return false }
        self = .stopped(reason)
        return true
    }
}

extension WorkflowError {
    static var cancelled: WorkflowError {
        WorkflowError(.cancelled, "the run was cancelled")
    }

    static func deadlinePassed(_ id: RunID, _ deadline: Timestamp) -> WorkflowError {
        WorkflowError(
            .deadlinePassed,
            "run \(id) was to be over by \(deadline.date) and was not, so it ends here: start a new one with more time")
    }

    static func diedTooOften(_ id: RunID, _ deaths: Int) -> WorkflowError {
        WorkflowError(
            .diedTooOften,
            "\(deaths) workers died while they executed run \(id), so it is not executed any more: see what its last step "
                + "does to them, then enqueue it anew")
    }

    /// - Parameter place: the step or resource that met the error, as a person names it.
    static func blocked(by place: String, _ error: any Error) -> WorkflowError {
        WorkflowError(
            .blocked(by: place), "\(place) cannot go on until somebody mends what it met; then resume the run",
            cause: error)
    }

    static var interrupted: WorkflowError {
        WorkflowError(.interrupted, "the run was interrupted because the process was told to stop: resume it")
    }
}
