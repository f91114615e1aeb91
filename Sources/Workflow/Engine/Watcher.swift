import Synchronization

/// What runs and handles wait for in the store: the end of a run, or a signal. One question is asked for all that wait.
final class Watcher: Sendable {
    enum Key: Hashable, Sendable {
        case end(RunID)
        case signal(RunID, String)
    }

    enum Finding: Sendable {
        case ended(RunRecord)
        case signalled(PendingSignal)
    }

    private typealias Waiter = (key: Key, promise: Promise<Result<Finding, any Error>>)

    private struct State {
        var waiters: [Int: Waiter] = [:]
        var next = 0
        var isLooking = false
    }

    private let store: any WorkflowStore
    private let state = Mutex(State())
    /// Opened when somebody first waits.
    private let news = Mutex<StoreNews?>(nil)

    /// How often is looked for what nothing told of.
    private static let slowPoll = Duration.seconds(1)

    init(store: any WorkflowStore) {
        self.store = store
    }

    /// Returns what was waited for once it is in the store.
    ///
    /// - Throws: `CancellationError` when the task is cancelled, or why the store could not be asked.
    func wait(for key: Key) async throws -> Finding {
        let promise = Promise<Result<Finding, any Error>>()
        let (ticket, mustLook) = state.withLock { state in
            state.next += 1
            state.waiters[state.next] = (key, promise)
            defer { state.isLooking = true }
            return (state.next, !state.isLooking)
        }
        let news = opened()
        if mustLook { Task { [self] in await look(news) } } else { news.bell.ring() }
        let result = await withTaskCancellationHandler {
            await promise.value()
        } onCancel: {
            state.withLock { $0.waiters[ticket] = nil }
            promise.fulfil(.failure(CancellationError()))
        }
        return try result.get()
    }

    private func opened() -> StoreNews {
        news.withLock { news in
            if let news { return news }
            let new = store.news()
            news = new
            return new
        }
    }

    private func look(_ news: StoreNews) async {
        while true {
            let keys = state.withLock { state -> Set<Key> in
                if state.waiters.isEmpty { state.isLooking = false }
                return Set(state.waiters.values.map(\.key))
            }
            guard !keys.isEmpty else { return }
            do {
                for (key, finding) in try await findings(keys) { answer(key, .success(finding)) }
                try await news.wait(atMost: Self.slowPoll)
            } catch let error as WorkflowError where error.code == .storeBusy {
                // The next round asks again, after the store's own patience.
                continue
            } catch {
                for key in keys { answer(key, .failure(error)) }
            }
        }
    }

    private func answer(_ key: Key, _ result: Result<Finding, any Error>) {
        let promises = state.withLock { state in
            let found = state.waiters.filter { $0.value.key == key }
            for ticket in found.keys { state.waiters[ticket] = nil }
            return found.values.map(\.promise)
        }
        for promise in promises { promise.fulfil(result) }
    }

    private func findings(_ keys: Set<Key>) async throws -> [Key: Finding] {
        var runs: [RunID] = []
        var signalled: Set<RunID> = []
        for key in keys {
            switch key {
            case .end(let id): runs.append(id)
            case .signal(let id, _): signalled.insert(id)
            }
        }
        var found: [Key: Finding] = [:]
        if !runs.isEmpty {
            for record in try await store.ended(among: runs) { found[.end(record.id)] = .ended(record) }
        }
        if !signalled.isEmpty {
            for signal in try await store.signals(of: Array(signalled)) {
                found[.signal(signal.run, signal.name)] = .signalled(signal)
            }
        }
        return found
    }
}
