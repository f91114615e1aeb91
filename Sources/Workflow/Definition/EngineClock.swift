public import Foundation

/// The wall clock that due times and deadlines go by.
public protocol EngineClock: Sendable {
    /// The time now.
    func now() -> Date

    /// Returns once `now()` has reached `deadline`, or throws `CancellationError` as soon as the task is cancelled.
    func sleep(until deadline: Date) async throws

    /// The same for the deadline of an attempt. A test's clock may let sleeps pass at once and deadlines never.
    func expire(at deadline: Date) async throws
}

/// The system's wall clock. Long sleeps look at it again every half minute, so that a change of the clock, or a machine
/// that slept, is noticed.
public struct SystemClock: EngineClock {
    private static let slice: Int64 = 30_000

    /// Makes the clock.
    public init() {}

    /// The system's time.
    public func now() -> Date { Date() }

    /// Sleeps in slices until the system's time has reached `deadline`.
    public func sleep(until deadline: Date) async throws {
        while true {
            try Task.checkCancellation()
            let left = Timestamp(now()).duration(to: Timestamp(deadline)).wholeMilliseconds
            guard left > 0 else { return }
            try await Task.sleep(for: .milliseconds(min(left, Self.slice)), clock: .continuous)
        }
    }
}

extension EngineClock {
    /// By the same clock.
    public func expire(at deadline: Date) async throws {
        try await sleep(until: deadline)
    }
}
