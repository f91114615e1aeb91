import Foundation

/// The ends of a run in time, and of the use of its contexts.
extension RunExecution {
    /// The run does not go on past its deadline, whether or not the timer has noticed.
    func expireIfDue() {
        guard let deadline, deadline <= now else { return }
        cancel(.deadlinePassed(id, deadline))
    }

    /// Ends the running bodies when the deadline comes.
    func deadlineTimer() -> Task<Void, Never>? {
        guard let deadline else { return nil }
        return Task { [self] in
            do {
                try await clock.expire(at: deadline.date)
            } catch {
                return  // the run was faster
            }
            cancel(.deadlinePassed(id, deadline))
        }
    }

    /// Throws if the context that something was called on is of the past: nobody would wait for the result.
    ///
    /// - Parameter what: what was called, such as `step 'pull'`.
    func requireInside(_ scope: Scope?, _ what: @autoclosure () -> String) throws {
        if isOver { throw WorkflowError.outsideRun(id, what()) }
        if let name = scope?.leftName {
            throw WorkflowError(
                .outsideScope,
                "\(what()) was called on the context of resource '\(name)' after its scope was left and the resource "
                    + "released: use that context inside of withResource only, and wait there for every task that does")
        }
    }
}

extension Failure {
    /// For a run that met its deadline.
    init(deadline reason: WorkflowError) {
        self.init(
            kind: .timeout, type: String(reflecting: WorkflowError.self), message: reason.message, step: nil,
            payload: nil)
    }

    /// For a run whose workers died too often.
    init(deaths reason: WorkflowError) {
        self.init(
            kind: .crashed, type: String(reflecting: WorkflowError.self), message: reason.message, step: nil,
            payload: nil)
    }
}

extension WorkflowError {
    static func outsideRun(_ id: RunID, _ what: String) -> WorkflowError {
        WorkflowError(
            .outsideRun,
            "\(what) was called on the context of run \(id) after its workflow had returned: let the workflow wait for "
                + "every task that uses its context")
    }
}
