import CoreMetrics

/// What a store tells the metrics backend that was in force when it was opened. Made once; recording allocates nothing.
struct StoreMetrics: Sendable {
    private struct Instruments: Sendable {
        let transaction: CoreMetrics.Timer
        let latency: CoreMetrics.Timer
        let operations: Recorder
        let queue: Recorder
        let failures: Counter
        let lockWait: CoreMetrics.Timer
        let checkpoint: CoreMetrics.Timer
    }

    /// `nil` without a backend.
    private let instruments: Instruments?

    init(_ factory: any MetricsFactory) {
        guard !(factory is NOOPMetricsHandler) else {
            instruments = nil
            return
        }
        instruments = Instruments(
            transaction: CoreMetrics.Timer(label: "workflow.commit.duration", factory: factory),
            latency: CoreMetrics.Timer(label: "workflow.commit.latency", factory: factory),
            operations: Recorder(label: "workflow.commit.operations", factory: factory),
            queue: Recorder(label: "workflow.commit.queue", factory: factory),
            failures: Counter(label: "workflow.commit.failures", factory: factory),
            lockWait: CoreMetrics.Timer(label: "workflow.lock.wait", factory: factory),
            checkpoint: CoreMetrics.Timer(label: "workflow.checkpoint.duration", factory: factory))
    }

    /// - Parameters:
    ///   - operations: how many operations the transaction had.
    ///   - queue: how many waited when it was begun, these included.
    ///   - latency: how long the oldest of them waited until the commit.
    func committed(operations: Int, of queue: Int, latency: Duration) {
        guard let instruments else { return }
        instruments.operations.record(operations)
        instruments.queue.record(queue)
        instruments.latency.recordNanoseconds(latency.wholeNanoseconds)
    }

    func commitFailed() { instruments?.failures.increment() }

    /// Calls `body` and records how long it took.
    func transaction<T>(_ body: () throws -> T) rethrows -> T { try measure(\.transaction, body) }
    func lockWait<T>(_ body: () throws -> T) rethrows -> T { try measure(\.lockWait, body) }
    func checkpoint<T>(_ body: () throws -> T) rethrows -> T { try measure(\.checkpoint, body) }

    private func measure<T>(_ timer: KeyPath<Instruments, CoreMetrics.Timer>, _ body: () throws -> T) rethrows -> T {
        guard let instruments else { return try body() }
        let clock = ContinuousClock()
        let start = clock.now
        defer { instruments[keyPath: timer].recordNanoseconds(start.duration(to: clock.now).wholeNanoseconds) }
        return try body()
    }
}
