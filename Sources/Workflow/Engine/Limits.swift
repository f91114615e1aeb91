/// What limits of time may look like.
enum Limits {
    /// - Parameter what: such as `the timeout of step 'pull'`.
    static func check(_ limit: Duration?, what: @autoclosure () -> String) throws(WorkflowError) {
        guard let limit, limit <= .zero else { return }
        throw WorkflowError(
            .invalidDuration,
            "\(what()) is \(limit), so nothing could ever be done in time: give more than zero, or leave it out")
    }
}
