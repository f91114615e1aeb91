import Synchronization
public import Workflow

/// One passing of a crash point: the same point is passed again by every attempt.
public struct CrashVisit: Hashable, Sendable, CustomStringConvertible {
    /// The point.
    public let point: CrashPoint
    /// Which passing of it, from 1.
    public let occurrence: Int

    /// Names the passing.
    public init(_ point: CrashPoint, occurrence: Int = 1) {
        self.point = point
        self.occurrence = occurrence
    }

    /// The point, and the number of the passing when it is not the first.
    public var description: String { occurrence == 1 ? "\(point)" : "\(point)×\(occurrence)" }
}

/// Records the crash points that an engine passes, and lets the engine "die" at one of them.
///
/// Dying means: nothing more is written, every lock is let go, every task is cancelled. What is on disk is what a
/// killed process would have left.
public final class CrashProbe: Sendable {
    private struct State {
        // The engine holds the probe: strongly, neither would ever be freed.
        weak var engine: Engine?
        var counts: [CrashPoint: Int] = [:]
        var visits: [CrashVisit] = []
        var hasCrashed = false
    }

    private let target: CrashVisit?
    private let disk: FaultyDisk?
    private let state = Mutex(State())

    /// Makes a probe.
    ///
    /// - Parameters:
    ///   - target: where the engine dies; nowhere when `nil`.
    ///   - disk: a disk that loses its power with it.
    public init(crashAt target: CrashVisit? = nil, cuttingPowerOf disk: FaultyDisk? = nil) {
        self.target = target
        self.disk = disk
    }

    /// Tells the probe which engine is to die. Call it before the engine does anything.
    public func attach(_ engine: Engine) {
        state.withLock { $0.engine = engine }
    }

    /// What goes into `EngineConfiguration.probe`.
    public var closure: @Sendable (CrashPoint) -> Void {
        { [self] point in pass(point) }
    }

    /// Every point that was passed, in order.
    public var visits: [CrashVisit] { state.withLock { $0.visits } }

    /// Whether the engine died.
    public var hasCrashed: Bool { state.withLock { $0.hasCrashed } }

    private func pass(_ point: CrashPoint) {
        let victim = state.withLock { state -> Engine? in
            guard !state.hasCrashed else { return nil }
            let count = (state.counts[point] ?? 0) + 1
            state.counts[point] = count
            let visit = CrashVisit(point, occurrence: count)
            state.visits.append(visit)
            guard visit == target else { return nil }
            state.hasCrashed = true
            return state.engine
        }
        guard let victim else { return }
        // In this order nobody is told of a commit that the disk does not have.
        victim.crash()
        disk?.cutPower()
    }
}

extension Engine {
    /// Throws the state of this engine away as the death of its process would: nothing more is written, every lock is
    /// let go, every running body is cancelled, and every waiting handle throws.
    public func crash() {
        sever()
    }
}
