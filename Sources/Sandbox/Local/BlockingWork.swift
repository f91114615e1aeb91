import CLinux
import Glibc
import Synchronization

/// Runs blocking work on a thread of its own, so that it never holds one of the cooperative pool.
///
/// The thread lives as long as the work: a child process that asked to be killed with its parent thread
/// (prctl(2), PR_SET_PDEATHSIG) lives as long as the work too, and no longer.
func onOwnThread<Result: Sendable>(
    _ work: @escaping @Sendable () throws -> Result
) async throws -> Result {
    try await withCheckedThrowingContinuation { continuation in
        let body = ThreadBody {
            continuation.resume(with: Swift.Result { try work() })
        }
        if let error = startThread(body) { continuation.resume(throwing: error) }
    }
}

/// The same for work that ends early, and throws `CancellationError`, when the task is cancelled.
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

private final class ThreadBody: Sendable {
    let run: @Sendable () -> Void

    init(_ run: @escaping @Sendable () -> Void) {
        self.run = run
    }
}

private func startThread(_ body: ThreadBody) -> SandboxError? {
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    pthread_attr_setstacksize(&attributes, 1 << 20)
    let pointer = Unmanaged.passRetained(body)
    var thread = pthread_t()
    let error = pthread_create(
        &thread,
        &attributes,
        { raw in
            guard let raw else { return nil }
            // A pipe whose reader is gone is an error of write here, never a signal that ends the program.
            var brokenPipe = sigset_t()
            sigemptyset(&brokenPipe)
            sigaddset(&brokenPipe, SIGPIPE)
            pthread_sigmask(SIG_BLOCK, &brokenPipe, nil)
            Unmanaged<ThreadBody>.fromOpaque(raw).takeRetainedValue().run()
            return nil
        },
        pointer.toOpaque()
    )
    guard error != 0 else { return nil }
    pointer.release()
    return .system(error, "start a thread")
}

/// Pauses the calling thread.
func pauseThread(_ duration: Duration) {
    let milliseconds = max(0, min(duration.wholeMilliseconds, 60_000))
    var rest = timespec(tv_sec: Int(milliseconds / 1000), tv_nsec: Int(milliseconds % 1000) * 1_000_000)
    var left = timespec()
    while nanosleep(&rest, &left) != 0 && errno == EINTR { rest = left }
}
