/// A named place in the engine, right before or right after a commit or an effect.
///
/// ``EngineConfiguration/probe`` is called synchronously at each, so that a test can kill the process exactly there.
/// The description reads `subject:moment.edge`:
///
/// | subject | moments |
/// | --- | --- |
/// | `run` | `create`, `claim`, `finish` |
/// | `step:NAME` | `intent`, `effect`, `done`, `failed`, `verify` |
/// | `sleep:NAME` | `intent`, `effect`, `done` |
/// | `resource:NAME:create` | `intent`, `effect`, `done` |
/// | `resource:NAME:find` | `effect` |
/// | `resource:NAME:liveness` | `effect` |
/// | `resource:NAME:release` | `intent`, `effect`, `done` |
/// | `resource:NAME:lost` | `done` |
///
/// `intent`, `done`, `failed`, `create`, `claim` and `finish` are commits; `effect` and `verify` are calls of code
/// outside the engine. A `done` or `failed` travels with the next commit, so its `after` comes late, on the writer's
/// thread.
public struct CrashPoint: Hashable, Sendable, CustomStringConvertible {
    /// Which side of the commit or effect.
    public enum Edge: String, Sendable, Hashable, CaseIterable {
        /// Nothing of it has happened.
        case before
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
