import Foundation
import Synchronization

/// Lets tasks wait until something was noted, or some time has passed.
final class Bell: Sendable {
    private struct State {
        /// Rung while nobody waited.
        var isPending = false
        var waiters: [Int: CheckedContinuation<Bool, Never>] = [:]
        var next = 0
        /// Waiters whose waiting ended before it began.
        var early: Set<Int> = []
    }

    private let state = Mutex(State())

    func ring() {
        let waiters = state.withLock { state in
            defer { state.waiters = [:] }
            if state.waiters.isEmpty { state.isPending = true }
            return Array(state.waiters.values)
        }
        for waiter in waiters { waiter.resume(returning: true) }
    }

    /// Returns when the bell rings, or has rung since somebody last waited; otherwise after `limit`.
    ///
    /// - Throws: `CancellationError`.
    func wait(atMost limit: Duration) async throws {
        _ = try await waitForRing(atMost: limit)
    }

    /// The same; says whether it rang.
    func waitForRing(atMost limit: Duration) async throws -> Bool {
        let ticket = state.withLock { state in
            state.next += 1
            return state.next
        }
        let timer = Task { [weak self] in
            do { try await Task.sleep(for: limit, clock: .continuous) } catch { return }
            self?.end(ticket)
        }
        defer { timer.cancel() }
        let hasRung = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer = state.withLock { state -> Bool? in
                    if state.isPending {
                        state.isPending = false
                        return true
                    }
                    if state.early.remove(ticket) != nil { return false }
                    state.waiters[ticket] = continuation
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            end(ticket)
        }
        _ = state.withLock { $0.early.remove(ticket) }
        try Task.checkCancellation()
        return hasRung
    }

    private func end(_ ticket: Int) {
        let waiter = state.withLock { state -> CheckedContinuation<Bool, Never>? in
            if let waiter = state.waiters.removeValue(forKey: ticket) { return waiter }
            state.early.insert(ticket)
            return nil
        }
        waiter?.resume(returning: false)
    }
}

/// Bells of several listeners that ring together. A bell that nobody keeps any more is left out.
final class Bells: Sendable {
    private struct Weak: Sendable {
        weak var bell: Bell?
    }

    private let bells = Mutex<[Weak]>([])

    func add(_ bell: Bell) {
        bells.withLock { bells in
            bells.removeAll { $0.bell == nil }
            bells.append(Weak(bell: bell))
        }
    }

    func ring() {
        for bell in bells.withLock({ $0.compactMap(\.bell) }) { bell.ring() }
    }
}

/// What one listener hears of a store: that there may be something new to look for.
final class StoreNews: Sendable {
    /// Rung by the store, and by whoever wants the listener to look at once.
    let bell = Bell()
    /// Of a store that rings for its own process only: a number that changes with every commit of anybody.
    private let version: (@Sendable () async throws -> Int64)?
    private let seen = Mutex<Int64?>(nil)

    /// How often the number is looked at.
    private static let interval = Duration.milliseconds(40)

    init(version: (@Sendable () async throws -> Int64)? = nil) {
        self.version = version
    }

    /// Returns when there may be news, at the latest after `limit`.
    ///
    /// - Throws: `CancellationError`, or why the store could not be looked at.
    func wait(atMost limit: Duration) async throws {
        guard let version else { return try await bell.wait(atMost: limit) }
        let deadline = ContinuousClock.now + limit
        while true {
            let left = ContinuousClock.now.duration(to: deadline)
            guard left > .zero else { return }
            if try await bell.waitForRing(atMost: min(left, Self.interval)) { return }
            let now = try await version()
            let isNew = seen.withLock { seen in
                defer { seen = now }
                return seen != now
            }
            if isNew { return }
        }
    }
}
