import Connect
import Synchronization
import Workflow
import WorkflowTesting

/// One boundary of one request of a client's life.
struct RequestBoundary: Hashable, Sendable, CustomStringConvertible {
    let method: String
    let point: RequestEvent.Point
    /// Which passing of it, from 1.
    let occurrence: Int

    var description: String { "\(point.rawValue) of \(method) #\(occurrence)" }
}

/// Watches the requests of one life of a client, and lets it die at one boundary: its engine is severed from the store,
/// and nothing more is sent.
final class RequestBoundaries: Sendable {
    enum Death: Sendable {
        case never
        /// At the nth boundary, whichever that is.
        case nth(Int)
        case at(RequestBoundary)
    }

    private struct State {
        weak var engine: Engine?
        var counts: [String: Int] = [:]
        var passed: [RequestBoundary] = []
        var isDead = false
    }

    private let death: Death
    private let state = Mutex(State())

    init(_ death: Death) { self.death = death }

    func attach(_ engine: Engine) { state.withLock { $0.engine = engine } }

    var passed: [RequestBoundary] { state.withLock { $0.passed } }
    var isDead: Bool { state.withLock { $0.isDead } }

    var observer: ConnectClientConfiguration.Observer {
        { [self] event throws(ConnectError) in
            let method = String(event.method.split(separator: "/").last ?? "")
            let (victim, isDead) = state.withLock { state -> (Engine?, Bool) in
                if state.isDead { return (nil, true) }
                let key = "\(method) \(event.point.rawValue)"
                let boundary = RequestBoundary(
                    method: method, point: event.point, occurrence: state.counts[key, default: 0] + 1)
                state.counts[key] = boundary.occurrence
                state.passed.append(boundary)
                state.isDead =
                    switch death {
                    case .never: false
                    case .nth(let number): state.passed.count == number
                    case .at(let wanted): boundary == wanted
                    }
                return (state.isDead ? state.engine : nil, state.isDead)
            }
            victim?.crash()
            if isDead { throw ConnectError(.canceled, "this client is dead", isAmbiguous: true) }
        }
    }
}
