import Synchronization
import Threads

/// Runs blocking work on a thread made for it, so that the cooperative pool never waits for a disk or a process.
///
/// The thread lives exactly as long as the work, which a child process that dies with its parent thread (prctl(2),
/// `PR_SET_PDEATHSIG`) relies on. It has let go of all that the work holds, as files and their locks, before the caller
/// goes on. Cancelling the task does not stop the work: what blocks must have a deadline of its own.
package func onOwnThread<Value: Sendable, Failure: Error>(
    _ body: @escaping @Sendable () throws(Failure) -> Value
) async throws(Failure) -> Value {
    let work = OneTimeWork(body)
    let result: Result<Value, Failure> = await withCheckedContinuation { continuation in
        Thread.detach { continuation.resume(returning: work.result()) }
    }
    return try result.get()
}

/// Work that is done once and holds nothing afterwards.
private final class OneTimeWork<Value: Sendable, Failure: Error>: Sendable {
    private let body: Mutex<(@Sendable () throws(Failure) -> Value)?>

    init(_ body: @escaping @Sendable () throws(Failure) -> Value) { self.body = Mutex(body) }

    func result() -> Result<Value, Failure> {
        let taken = body.withLock { $0.take() }
        guard let taken else { preconditionFailure("this is called once") }
        return Result(catching: taken)
    }
}
