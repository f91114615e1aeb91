import Threads

/// Runs blocking work on a thread made for it, so that the cooperative pool never waits for a disk or a process.
///
/// The thread lives exactly as long as the work, which a child process that dies with its parent thread (prctl(2),
/// `PR_SET_PDEATHSIG`) relies on. Cancelling the task does not stop the work: what blocks must have a deadline of its
/// own.
package func onOwnThread<Value: Sendable, Failure: Error>(
    _ body: @escaping @Sendable () throws(Failure) -> Value
) async throws(Failure) -> Value {
    let result: Result<Value, Failure> = await withCheckedContinuation { continuation in
        Thread.detach {
            do throws(Failure) {
                continuation.resume(returning: .success(try body()))
            } catch {
                continuation.resume(returning: .failure(error))
            }
        }
    }
    return try result.get()
}
