import Synchronization

/// The places of one queue at one worker. A value: the tasks around it only do as it says.
struct PlaceLedger: Sendable {
    private let limit: Int
    private var taken = 0
    /// Runs that slept and want to work again, in order of arrival: they come before runs that are new here.
    private var waiting: [Int] = []

    init(limit: Int) {
        self.limit = limit
    }

    /// How many new runs may be taken.
    var free: Int { max(limit - taken - waiting.count, 0) }

    mutating func take() { taken += 1 }

    /// - Returns: whether there is a place at once; otherwise the ticket waits for one.
    mutating func want(_ ticket: Int) -> Bool {
        guard taken < limit, waiting.isEmpty else {
            waiting.append(ticket)
            return false
        }
        taken += 1
        return true
    }

    /// - Returns: the ticket that got the place, if one waited.
    mutating func giveUp() -> Int? {
        taken -= 1
        return next()
    }

    /// The ticket does not wait any more.
    ///
    /// - Returns: `false` if it has its place already.
    mutating func forget(_ ticket: Int) -> Bool {
        guard let index = waiting.firstIndex(of: ticket) else { return false }
        waiting.remove(at: index)
        return true
    }

    private mutating func next() -> Int? {
        guard taken < limit, !waiting.isEmpty else { return nil }
        taken += 1
        return waiting.removeFirst()
    }
}

/// The places of one queue at one worker.
final class WorkerPlaces: Sendable {
    private struct State {
        var ledger: PlaceLedger
        var waiters: [Int: Promise<Bool>] = [:]
        var next = 0
        var pausedUntil: ContinuousClock.Instant?
        var trouble: (any Error)?
    }

    let queue: String
    /// What the loop that takes runs listens to.
    let news: StoreNews
    private let state: Mutex<State>

    init(_ queue: QueueConfiguration, news: StoreNews) {
        self.queue = queue.name
        self.news = news
        state = Mutex(State(ledger: PlaceLedger(limit: queue.concurrency)))
    }

    var free: Int { state.withLock { $0.ledger.free } }

    func take() { state.withLock { $0.ledger.take() } }

    /// For how long no new runs are to be taken; `nil` when they may be.
    var pause: Duration? {
        state.withLock { state -> Duration? in
            guard let end = state.pausedUntil, end > .now else {
                state.pausedUntil = nil
                return nil
            }
            return ContinuousClock.Instant.now.duration(to: end)
        }
    }

    func pause(until end: ContinuousClock.Instant) {
        state.withLock { $0.pausedUntil = max($0.pausedUntil ?? end, end) }
    }

    /// Why no runs could be taken when that was last tried.
    var trouble: (any Error)? {
        get { state.withLock { $0.trouble } }
        set { state.withLock { $0.trouble = newValue } }
    }

    /// Waits for a place for a run that slept.
    ///
    /// - Throws: `CancellationError`; then it has none.
    func takeAgain() async throws {
        let promise = Promise<Bool>()
        let ticket = state.withLock { state -> Int? in
            state.next += 1
            if state.ledger.want(state.next) { return nil }
            state.waiters[state.next] = promise
            return state.next
        }
        guard let ticket else { return }
        let hasPlace = await withTaskCancellationHandler {
            await promise.value()
        } onCancel: {
            let waiter = state.withLock { state -> Promise<Bool>? in
                guard state.ledger.forget(ticket) else { return nil }
                return state.waiters.removeValue(forKey: ticket)
            }
            waiter?.fulfil(false)
        }
        guard hasPlace else { throw CancellationError() }
    }

    func giveUp() {
        let waiter = state.withLock { state -> Promise<Bool>? in
            guard let ticket = state.ledger.giveUp() else { return nil }
            return state.waiters.removeValue(forKey: ticket)
        }
        if let waiter { waiter.fulfil(true) } else { news.bell.ring() }
    }
}

/// The place of one run: held while it works, given up while it sleeps.
final class RunPlace: Sendable {
    let places: WorkerPlaces
    /// Lets one task at a time ask for the place.
    let gate = AsyncGate()
    private let isHeld = Mutex(true)

    /// Of a run that was just taken, with its place.
    init(_ places: WorkerPlaces) {
        self.places = places
    }

    /// Safe to call twice.
    func giveUp() {
        let wasHeld = isHeld.withLock { isHeld in
            defer { isHeld = false }
            return isHeld
        }
        if wasHeld { places.giveUp() }
    }

    func takeAgain() async throws {
        try await places.takeAgain()
        isHeld.withLock { $0 = true }
    }
}
