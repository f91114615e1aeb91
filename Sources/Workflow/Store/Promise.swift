import Synchronization

/// A value that comes once and that any number of tasks may wait for. Later values are ignored.
final class Promise<Value: Sendable>: Sendable {
    private enum State {
        case waiting([CheckedContinuation<Value, Never>])
        case fulfilled(Value)
    }

    private let state = Mutex(State.waiting([]))
    private let hasValue = Atomic<Bool>(false)

    /// Whether the value has come; costs less than to wait for it.
    var isFulfilled: Bool { hasValue.load(ordering: .acquiring) }

    /// - Returns: whether this value is the one.
    @discardableResult
    func fulfil(_ value: Value) -> Bool {
        let waiters = state.withLock { state -> [CheckedContinuation<Value, Never>]? in
            guard case .waiting(let waiters) = state else { return nil }
            state = .fulfilled(value)
            return waiters
        }
        guard let waiters else { return false }
        hasValue.store(true, ordering: .releasing)
        for waiter in waiters { waiter.resume(returning: value) }
        return true
    }

    func value() async -> Value {
        await withCheckedContinuation { continuation in
            let value = state.withLock { state -> Value? in
                switch state {
                case .fulfilled(let value): return value
                case .waiting(let waiters):
                    state = .waiting(waiters + [continuation])
                    return nil
                }
            }
            if let value { continuation.resume(returning: value) }
        }
    }
}
