import Synchronization

/// The chain of resource generations that a step belongs to.
final class Scope: Sendable {
    /// Such as `sandbox#2/volume#1`; empty outside of every resource.
    let path: String
    let name: String
    let generation: Int
    let outer: Scope?

    private struct State {
        var isLost = false
        var isEnded: Bool
        var needsNextGeneration = false
        var isVerified: Bool
        var isLeft = false
    }

    private let state: Mutex<State>
    private let askLiveness: @Sendable () async throws -> Liveness
    private let recordLoss: @Sendable () async throws -> Void
    private let asking = AsyncGate()

    /// The scope outside of every resource.
    init() {
        path = ""
        name = ""
        generation = 0
        outer = nil
        state = Mutex(State(isEnded: false, isVerified: true))
        askLiveness = { .alive }
        recordLoss = {}
    }

    /// - Parameters:
    ///   - isEnded: whether the resource of this generation was released already: then only checkpoints answer.
    ///   - isVerified: whether the resource was seen alive in this process.
    init(
        outer: Scope, name: String, generation: Int, isEnded: Bool, isVerified: Bool,
        askLiveness: @escaping @Sendable () async throws -> Liveness,
        recordLoss: @escaping @Sendable () async throws -> Void
    ) {
        self.path = Self.path(outer: outer.path, name: name, generation: generation)
        self.name = name
        self.generation = generation
        self.outer = outer
        self.state = Mutex(State(isEnded: isEnded, isVerified: isVerified))
        self.askLiveness = askLiveness
        self.recordLoss = recordLoss
    }

    /// The names are escaped so that two chains never look the same.
    static func path(outer: String, name: String, generation: Int) -> String {
        let plain = name.replacing("%", with: "%25").replacing("/", with: "%2F").replacing("#", with: "%23")
        return (outer.isEmpty ? "" : outer + "/") + "\(plain)#\(generation)"
    }

    /// The body that this scope was made for is over.
    func leave() { state.withLock { $0.isLeft = true } }

    /// The name of the innermost resource of the chain whose body is over.
    var leftName: String? {
        state.withLock { $0.isLeft } ? name : outer?.leftName
    }

    var isLost: Bool { state.withLock { $0.isLost } }
    var needsNextGeneration: Bool { state.withLock { $0.needsNextGeneration } }

    /// Called before a step that has no checkpoint: throws unless every resource of the chain is there to work with.
    ///
    /// A resource of an earlier process is asked once, and only now: a run whose steps are all recorded needs it no more.
    func requireResources() async throws {
        guard let outer else { return }
        try await outer.requireResources()
        let (isLost, isEnded) = state.withLock { state in
            if state.isEnded { state.needsNextGeneration = true }
            return (state.isLost, state.isEnded)
        }
        if isLost { throw lost("it was found lost") }
        if isEnded { throw lost("generation \(generation) was released, and a step still needs it") }
        try await asking.exclusively {
            let (isLost, isVerified) = state.withLock { ($0.isLost, $0.isVerified) }
            if isLost { throw lost("it was found lost") }
            if isVerified { return }
            if try await askAndRecord() == .lost { throw lost("it was lost since the run was last executed") }
            state.withLock { $0.isVerified = true }
        }
    }

    /// Called when a body says that a resource is gone.
    ///
    /// - Returns: whether it really is.
    func confirmLoss(named wanted: String?) async throws -> Bool {
        guard let outer else { return false }
        if let wanted, wanted != name { return try await outer.confirmLoss(named: wanted) }
        return try await asking.exclusively {
            if isLost { return true }
            return try await askAndRecord() == .lost
        }
    }

    private func askAndRecord() async throws -> Liveness {
        let liveness = try await askLiveness()
        if liveness == .lost {
            try await recordLoss()
            state.withLock { $0.isLost = true }
        }
        return liveness
    }

    private func lost(_ reason: String) -> ResourceLost {
        ResourceLost(named: name, reason: reason)
    }
}

/// Lets one task at a time through, in order of arrival.
final class AsyncGate: Sendable {
    private struct State {
        var isTaken = false
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    func exclusively<T>(_ body: () async throws -> T) async rethrows -> T {
        await enter()
        defer { leave() }
        return try await body()
    }

    private func enter() async {
        await withCheckedContinuation { continuation in
            let isFree = state.withLock { state in
                if state.isTaken {
                    state.waiters.append(continuation)
                    return false
                }
                state.isTaken = true
                return true
            }
            if isFree { continuation.resume() }
        }
    }

    private func leave() {
        let next = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard !state.waiters.isEmpty else {
                state.isTaken = false
                return nil
            }
            return state.waiters.removeFirst()
        }
        next?.resume()
    }
}
