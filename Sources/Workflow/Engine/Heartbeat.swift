import Synchronization

/// How long an attempt may be silent, and when it last reported.
final class Heartbeat: Sendable {
    private struct State {
        var last: Timestamp
        var isMissed = false
    }

    let limit: Duration
    private let state: Mutex<State>

    init(limit: Duration, now: Timestamp) {
        self.limit = limit
        state = Mutex(State(last: now))
    }

    /// Whether the attempt was given up for its silence.
    var isMissed: Bool { state.withLock { $0.isMissed } }

    func beat(at now: Timestamp) {
        state.withLock { $0.last = max($0.last, now) }
    }

    /// Returns once the limit has passed without a report; throws when its task is cancelled.
    func untilMissed(_ clock: any EngineClock) async throws {
        while !isMissed {
            let due = state.withLock { $0.last }.advanced(by: limit)
            try await clock.expire(at: due.date)
            let now = Timestamp(clock.now())
            // A report in the meantime moved the end.
            state.withLock { $0.isMissed = $0.last.advanced(by: limit) <= now }
        }
    }
}
