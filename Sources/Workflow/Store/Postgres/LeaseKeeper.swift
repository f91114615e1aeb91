import CPQ
import Foundation
import Glibc
import Synchronization

/// A run that this store holds by a lease.
final class LeaseClaim: RunClaim {
    private enum Loss {
        case none
        case watched(@Sendable (WorkflowError) -> Void)
        case lost(WorkflowError)
    }

    let id: RunID
    let epoch: Int
    /// Whether the run is one of a queue, so that workers may wait for its place.
    let isQueued: Bool
    private let loss = Mutex(Loss.none)
    /// When its term has passed, by this machine; `nil` before anybody counts it.
    private let end = Mutex<ContinuousClock.Instant?>(nil)

    init(id: RunID, epoch: Int, isQueued: Bool = true) {
        self.id = id
        self.epoch = epoch
        self.isQueued = isQueued
    }

    func renew(until instant: ContinuousClock.Instant) { end.withLock { $0 = instant } }

    func isOver(at now: ContinuousClock.Instant) -> Bool { end.withLock { end in end.map { $0 <= now } ?? false } }

    func checkTerm() {
        if isOver(at: .now) { lose(.leaseOver(id)) }
    }

    func whenLost(_ act: @escaping @Sendable (WorkflowError) -> Void) {
        let reason = loss.withLock { loss -> WorkflowError? in
            if case .lost(let reason) = loss { return reason }
            loss = .watched(act)
            return nil
        }
        if let reason { act(reason) }
    }

    func lose(_ reason: WorkflowError) {
        let act = loss.withLock { loss -> (@Sendable (WorkflowError) -> Void)? in
            defer { loss = .lost(reason) }
            if case .watched(let act) = loss { return act }
            return nil
        }
        act?(reason)
    }
}

/// Keeps the leases of one store: renews them long before they end, and says which are lost.
///
/// A lease ends by the database's clock. Here it counts as over when its term has passed on this machine since the last
/// renewal was *asked for*, so it is never believed to last longer than it does. What a renewal commits is not
/// synced: a server that forgets one lets the lease end earlier, and a holder that is wrong about its lease is kept out by
/// the epoch.
///
/// Its thread and its connection are made with the first claim. The connection listens for what other processes want
/// cancelled, too.
final class LeaseKeeper: Sendable {
    private struct State {
        var held: [RunID: LeaseClaim] = [:]
        /// Epochs that the server gave away, or forgot and may give to somebody else: the rows cannot tell them apart.
        var lost: [RunID: Int] = [:]
        /// Epochs that this store has given up, and whose leases may still stand in the database under its name.
        var left: [RunID: Int] = [:]
        var isStarted = false
        var isStopped = false
        var watchdog: Task<Void, Never>?
    }

    /// What other processes want cancelled was noted.
    let bell = Bell()
    /// Of all that listen in this process.
    let bells = Bells()
    private let configuration: StoreConfiguration
    private let address: PostgresAddress
    private let owner: String
    private let state = Mutex(State())
    /// Ends the thread's waiting.
    private let wake: Int32
    private let closed = Promise<Void>()

    init(_ configuration: StoreConfiguration, _ address: PostgresAddress, owner: String) throws {
        self.configuration = configuration
        self.address = address
        self.owner = owner
        bells.add(bell)
        wake = cpq_waker()
        guard wake >= 0 else {
            throw WorkflowError(.storeFailed, "eventfd: \(String(cString: strerror(errno)))")
        }
    }

    deinit {
        // The thread keeps the keeper alive until it has ended.
        Glibc.close(wake)
    }

    var term: Duration { configuration.leaseTerm }

    // MARK: - Claims

    /// - Parameter asked: when the lease was asked for.
    func add(_ claim: LeaseClaim, asked: ContinuousClock.Instant) {
        claim.renew(until: asked + term)
        let mustStart = state.withLock { state in
            guard !state.isStopped else { return false }
            state.held[claim.id] = claim
            if state.lost[claim.id] == claim.epoch { state.lost[claim.id] = nil }
            defer { state.isStarted = true }
            return !state.isStarted
        }
        if mustStart { start() }
    }

    /// Begins to listen, also before the first claim.
    func listen() {
        let mustStart = state.withLock { state in
            guard !state.isStopped else { return false }
            defer { state.isStarted = true }
            return !state.isStarted
        }
        if mustStart { start() }
    }

    func remove(_ id: RunID, epoch: Int) {
        state.withLock { state in
            if state.held[id]?.epoch == epoch { state.held[id] = nil }
            if state.lost[id] == epoch { state.lost[id] = nil }
            state.left[id] = epoch
        }
    }

    /// The lease of what was removed is gone from the database, or will end by itself.
    func forget(_ id: RunID, epoch: Int) {
        state.withLock { state in
            if state.left[id] == epoch { state.left[id] = nil }
        }
    }

    /// Whether a lease that the database shows under this store's name is one that it does not know of: neither held nor
    /// given up. Only such a one was got by a claim whose answer was lost.
    func isNew(_ id: RunID, epoch: Int) -> Bool {
        state.withLock { $0.held[id]?.epoch != epoch && $0.left[id] != epoch }
    }

    /// Whether this store held the run under the epoch and the server does not know that any more.
    func hasLost(_ id: RunID, epoch: Int) -> Bool {
        state.withLock { $0.lost[id] == epoch }
    }

    /// Compares what is held with what the server knows, after the connection before was lost: a server that crashed, or that
    /// follows another one, may have forgotten claims whose commit was not synced. Another one may get the same epoch then.
    func compare(_ connection: PostgresConnection) throws {
        let asked = state.withLock { $0.held.mapValues(\.epoch) }
        guard !asked.isEmpty else { return }
        let rows = try connection.run(
            """
            SELECT run_id, epoch FROM leases
            WHERE owner = $1::uuid AND run_id = ANY ($2::text[])
            """, [owner, PostgresRead.array(asked.keys.map(\.description))]
        ).rows
        var answered: [RunID: Int] = [:]
        for row in rows { answered[try runID(row.needText("run_id"))] = Int(try row.needInteger("epoch")) }
        renewed(asked, answered, at: nil)
    }

    /// Whether others may wait for what becomes of the run; also where it is not known.
    func isQueued(_ id: RunID) -> Bool {
        state.withLock { $0.held[id]?.isQueued ?? true }
    }

    /// The epoch under which this store holds the run.
    func epoch(of id: RunID) -> Int? {
        state.withLock { $0.held[id]?.epoch }
    }

    /// Renews nothing any more. The leases themselves are let go by the writer.
    func stop() {
        let (watchdog, isStarted) = state.withLock { state in
            state.isStopped = true
            state.held = [:]
            return (state.watchdog, state.isStarted)
        }
        watchdog?.cancel()
        if isStarted { poke() } else { closed.fulfil(()) }
    }

    func close() async {
        stop()
        await closed.value()
    }

    // MARK: - Ends

    /// Lets go of the claims whose lease was not renewed in time.
    private func expire() {
        let now = ContinuousClock.now
        let over = state.withLock { state in
            let over = state.held.values.filter { $0.isOver(at: now) }
            for claim in over {
                state.held[claim.id] = nil
                state.left[claim.id] = claim.epoch
            }
            return over
        }
        for claim in over { claim.lose(.leaseOver(claim.id)) }
    }

    /// - Parameter instant: when the renewal was asked for; `nil` where they were only looked at.
    private func renewed(_ asked: [RunID: Int], _ answered: [RunID: Int], at instant: ContinuousClock.Instant?) {
        let lost = state.withLock { state -> [LeaseClaim] in
            var lost: [LeaseClaim] = []
            for (id, epoch) in asked {
                guard let claim = state.held[id], claim.epoch == epoch else { continue }
                if answered[id] == epoch {
                    if let instant { claim.renew(until: instant + term) }
                } else {
                    state.held[id] = nil
                    state.lost[id] = epoch
                    lost.append(claim)
                }
            }
            return lost
        }
        for claim in lost { claim.lose(.takenOver(claim.id)) }
    }

    // MARK: - The thread

    private func start() {
        let thread = Thread { [self] in loop() }
        thread.name = "workflow-leases"
        thread.start()
        // The thread may have to wait for a connection just when a lease ends.
        let watchdog = Task { [weak self, interval = term / 10] in
            while !Task.isCancelled {
                do { try await Task.sleep(for: interval, clock: .continuous) } catch { return }
                self?.expire()
            }
        }
        let isStopped = state.withLock { state in
            state.watchdog = watchdog
            return state.isStopped
        }
        if isStopped { watchdog.cancel() }
    }

    private var isStopped: Bool { state.withLock { $0.isStopped } }

    private func loop() {
        let link: PostgresLink
        do {
            link = try PostgresLink(configuration, address, for: .leases) { connection, _ in
                try Self.listen(connection)
            }
        } catch {
            // The same address was good for the writer; without renewals the leases end.
            closed.fulfil(())
            return
        }
        var due = ContinuousClock.now + pause()
        while !isStopped {
            if ContinuousClock.now >= due || link.current == nil {
                let isDone = renew(link)
                due = .now + (isDone ? pause() : min(term / 10, .seconds(1)))
            }
            wait(until: due, link)
        }
        link.close()
        closed.fulfil(())
    }

    /// A third of the term, or somewhat less: engines that were started together need not ask together.
    private func pause() -> Duration { term / 3 * .random(in: 0.8...1) }

    private static func listen(_ connection: PostgresConnection) throws {
        let row = try connection.run("SELECT \(PostgresStore.channel) AS channel").first
        guard let channel = try row?.text("channel") else { return }
        try connection.script("LISTEN \"\(channel)\"")
    }

    /// - Returns: whether the server answered.
    private func renew(_ link: PostgresLink) -> Bool {
        let asked = state.withLock { $0.held.mapValues(\.epoch) }
        do {
            let isNew = link.current == nil
            let connection = try link.connectedAtOnce()
            // What was told while nobody listened.
            if isNew { bells.ring() }
            let instant = ContinuousClock.now
            guard !asked.isEmpty else { return true }
            let rows = try connection.run(
                """
                UPDATE leases SET expires_at = clock_timestamp() + $2::bigint * interval '1 millisecond'
                WHERE owner = $1::uuid AND run_id = ANY ($3::text[]) RETURNING run_id, epoch
                """, [owner, "\(term.wholeMilliseconds)", PostgresRead.array(asked.keys.map(\.description))]
            ).rows
            var answered: [RunID: Int] = [:]
            for row in rows { answered[try runID(row.needText("run_id"))] = Int(try row.needInteger("epoch")) }
            renewed(asked, answered, at: instant)
            link.worked()
            // What was told meanwhile came with the answer: the socket will not say so again.
            if try connection.notifications() > 0 { bells.ring() }
            return true
        } catch let error as PostgresError where !error.isLost {
            // Somebody has a row locked: the next round asks again.
            return false
        } catch {
            link.drop()
            return false
        }
    }

    private func wait(until due: ContinuousClock.Instant, _ link: PostgresLink) {
        let left = max(ContinuousClock.now.duration(to: due).wholeMilliseconds, 0)
        var entries = [
            pollfd(fd: wake, events: Int16(POLLIN), revents: 0),
            // poll passes over a negative descriptor.
            pollfd(fd: link.current?.socket ?? -1, events: Int16(POLLIN), revents: 0),
        ]
        guard poll(&entries, 2, Int32(clamping: left)) > 0 else { return }
        if entries[0].revents != 0 {
            var value: UInt64 = 0
            // Nothing was written to it where this fails, and that is as good.
            _ = read(wake, &value, 8)
        }
        guard entries[1].revents != 0, let connection = link.current else { return }
        do {
            if try connection.notifications() > 0 { bells.ring() }
        } catch {
            link.drop()
        }
    }

    private func poke() {
        var one: UInt64 = 1
        // It fails where the counter is full, and then the thread is awake.
        _ = write(wake, &one, 8)
    }
}

extension WorkflowError {
    fileprivate static func leaseOver(_ id: RunID) -> WorkflowError {
        WorkflowError(
            .storeUnavailable,
            "the lease on run \(id) could not be renewed before it ended, so another process may have the run: see that the "
                + "server can be reached and that this process is not stopped, then resume the run")
    }
}
