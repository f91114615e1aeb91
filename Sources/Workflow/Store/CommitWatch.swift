import Foundation
import Synchronization

/// Lets the threads on both sides of a commit look for each other for a moment before they sleep.
///
/// To wake a sleeping thread takes a fifth of the time that a good disk takes to sync, and each commit of a lone run
/// wakes two. So a thread that waits alone for a commit that is about to come watches for it. It never does so for
/// longer than ``limit``, nor while others wait (they need the processor), nor where commits take longer than that or
/// there is one processor only. A process that waits for nothing watches nothing.
final class CommitWatch: Sendable {
    /// The longest that a thread watches, in nanoseconds.
    private static let limit = 500_000
    /// How long the writer watches for the next operation after a commit, in nanoseconds.
    private static let pause = 50_000

    private let isUseful = ProcessInfo.processInfo.activeProcessorCount > 1
    /// How many tasks wait for a commit.
    private let waiting = Atomic<Int>(0)
    /// How long commits take lately, in nanoseconds.
    private let typical = Atomic<Int>(Int.max)
    /// Whether something came that hurries, since the writer last looked.
    private let hasNews = Atomic<Bool>(false)

    // MARK: - The writer

    func committed(in duration: Duration) {
        let new = Int(clamping: duration.wholeNanoseconds)
        let old = typical.load(ordering: .relaxed)
        typical.store(old == .max ? new : old - old / 8 + new / 8, ordering: .relaxed)
    }

    /// Something came that hurries.
    func announce() { hasNews.store(true, ordering: .releasing) }

    /// Right after a commit: watches for something that hurries.
    func lookForMore() {
        guard isUseful, isQuick else { return }
        let deadline = ContinuousClock.now.advanced(by: .nanoseconds(Self.pause))
        while !hasNews.exchange(false, ordering: .acquiring), ContinuousClock.now < deadline {}
    }

    // MARK: - Whoever waits

    /// The result of what `submit` hands in, which calls back when it is committed.
    func outcome<T: Sendable>(
        of submit: (@escaping @Sendable (Result<T, any Error>) -> Void) -> Void
    ) async throws -> T {
        let outcome = Promise<Result<T, any Error>>()
        waiting.add(1, ordering: .relaxed)
        defer { waiting.subtract(1, ordering: .relaxed) }
        submit { outcome.fulfil($0) }
        look(for: outcome)
        return try await outcome.value().get()
    }

    private func look<T>(for outcome: Promise<T>) {
        guard isUseful, isQuick else { return }
        let deadline = ContinuousClock.now.advanced(by: .nanoseconds(Self.limit))
        while waiting.load(ordering: .relaxed) == 1, !outcome.isFulfilled, ContinuousClock.now < deadline {}
    }

    private var isQuick: Bool { typical.load(ordering: .relaxed) < Self.limit }
}
