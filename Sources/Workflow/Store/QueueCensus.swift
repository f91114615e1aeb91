/// How many runs of one workflow, in one version, wait in a queue.
struct QueueCensus: Sendable {
    let workflow: KnownWorkflow
    /// Their cancellation was asked for: a worker that knows any version of the workflow can end them.
    let isEnding: Bool
    let due: Int
    let later: Int
    let parked: Int
    /// For how many milliseconds the first of the new ones could have been taken.
    let oldest: Int64?
}

extension QueueFigures {
    init(_ groups: [QueueCensus], knowing known: [KnownWorkflow]) {
        let foreign = groups.filter { group in
            !known.contains {
                $0.name == group.workflow.name && ($0.version == group.workflow.version || group.isEnding)
            }
        }
        self.init(
            due: groups.map(\.due).reduce(0, +), foreign: foreign.map(\.due).reduce(0, +),
            later: groups.map(\.later).reduce(0, +), parked: groups.map(\.parked).reduce(0, +),
            oldest: groups.compactMap(\.oldest).max().map { .milliseconds(max($0, 0)) })
    }
}
