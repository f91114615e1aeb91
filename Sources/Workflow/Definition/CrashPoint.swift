/// A named place in the engine: right before or after a commit or an effect, or in the middle of a commit.
///
/// ``EngineConfiguration/probe`` is called synchronously at each, so that a test can kill the process exactly there.
/// The description reads `subject:moment.edge`:
///
/// | subject | moments |
/// | --- | --- |
/// | `run` | `create`, `claim`, `finish` |
/// | `step:NAME` | `intent`, `effect`, `progress`, `done`, `failed`, `doubt`, `verify` |
/// | `sleep:NAME` | `intent`, `resume`, `effect`, `done` |
/// | `resource:NAME:create` | `intent`, `effect`, `done`, `failed` |
/// | `resource:NAME:find` | `effect` |
/// | `resource:NAME:liveness` | `effect` |
/// | `resource:NAME:release` | `intent`, `effect`, `done`, `failed`, `given_up` |
/// | `resource:NAME:lost` | `done` |
/// | `event:KIND` | `emit` |
///
/// `effect` and `verify` are calls of code outside the engine, all others are commits. Most commits travel with the next
/// one that is waited for, so that their `during` and `after` come late, on the writer's thread. Nothing in the engine
/// can commit for a run or call outside without naming its point, so a test that goes through all points misses none.
public struct CrashPoint: Hashable, Sendable, CustomStringConvertible {
    /// Which side of the commit or effect.
    public enum Edge: String, Sendable, Hashable, CaseIterable {
        /// Nothing of it has happened.
        case before
        /// Of commits only: the changes are made, and the transaction is not committed. A crash undoes them.
        case during
        /// All of it has happened.
        case after
    }

    /// What it is about, such as `step:pull`.
    public let subject: String
    /// Which commit or effect, such as `intent`.
    public let moment: String
    /// Which side of it.
    public let edge: Edge

    /// Names a point.
    public init(subject: String, moment: String, edge: Edge) {
        self.subject = subject
        self.moment = moment
        self.edge = edge
    }

    /// `subject:moment.edge`.
    public var description: String { "\(subject):\(moment).\(edge.rawValue)" }
}
