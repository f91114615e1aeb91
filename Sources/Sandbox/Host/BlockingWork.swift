import CLinux
import Files
import Glibc
import Synchronization

/// Runs blocking work on a thread of its own; it ends early, and throws `CancellationError`, when the task is cancelled.
func onOwnThread<Result: Sendable>(
    cancellable work: @escaping @Sendable (CancelSignal) throws -> Result
) async throws -> Result {
    let signal = try CancelSignal()
    return try await withTaskCancellationHandler {
        try await onOwnThread { try work(signal) }
    } onCancel: {
        signal.fire()
    }
}

/// A descriptor that becomes readable when somebody cancels.
final class CancelSignal: Sendable {
    let readEnd: Int32
    private let writeEnd: Mutex<Int32>

    init() throws(SandboxError) {
        var ends: [Int32] = [-1, -1]
        let result = clinux_pipe(&ends)
        guard result >= 0 else { throw .system(-result, "make a pipe") }
        readEnd = ends[0]
        writeEnd = Mutex(ends[1])
    }

    deinit {
        _ = close(readEnd)
        fire()
    }

    /// Closes the write end: the read end reports a hang-up from then on.
    func fire() {
        writeEnd.withLock { end in
            if end >= 0 { _ = close(end) }
            end = -1
        }
    }
}

/// Pauses the calling thread.
func pauseThread(_ duration: Duration) {
    let milliseconds = max(0, min(duration.wholeMilliseconds, 60_000))
    var rest = timespec(tv_sec: Int(milliseconds / 1000), tv_nsec: Int(milliseconds % 1000) * 1_000_000)
    var left = timespec()
    while nanosleep(&rest, &left) != 0 && errno == EINTR { rest = left }
}
