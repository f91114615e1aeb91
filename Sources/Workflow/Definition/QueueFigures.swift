/// How much waits in a queue.
public struct QueueFigures: Sendable, Hashable {
    /// How many runs a worker may take now: new ones, and those whose worker died or let them go.
    public let due: Int
    /// How many of those the engine that was asked leaves to others, because it does not know their workflow in their
    /// version.
    public let foreign: Int
    /// How many new ones are not to be taken before a later time.
    public let later: Int
    /// How many no worker takes until somebody deals with what stopped them: see ``Engine/unpark(_:)``.
    public let parked: Int
    /// For how long the first of the new ones could have been taken; `nil` when none can.
    public let oldest: Duration?
}
