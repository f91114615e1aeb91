/// What `body` returned or threw; `nil` when it took longer than `limit`.
///
/// It is then cancelled and left behind: what blocks in a database or a system call ends with this process.
func within<Value: Sendable>(
    _ limit: Duration, _ body: @escaping @Sendable () async throws -> Value
) async throws -> Value? {
    let (outcomes, outcome) = AsyncStream.makeStream(of: Result<Value, any Error>?.self)
    let work = Task {
        do {
            outcome.yield(.success(try await body()))
        } catch {
            outcome.yield(.failure(error))
        }
    }
    let timer = Task {
        try await Task.sleep(for: limit)
        outcome.yield(nil)
    }
    defer {
        work.cancel()
        timer.cancel()
    }
    for await first in outcomes { return try first?.get() }
    throw CancellationError()
}
