internal import Glibc
internal import Synchronization

/// A thread of the system's that runs one function, and that somebody waits for.
///
/// For work that blocks, or that keeps a core busy: neither has a place in the cooperative pool.
package final class Thread: Sendable {
    private let handle: Mutex<pthread_t?>

    /// Starts a thread; nil where the system has none left.
    package init?(_ body: @escaping @Sendable () -> Void) {
        guard let thread = start(body, isDetached: false) else { return nil }
        handle = Mutex(thread)
    }

    deinit {
        join()
    }

    /// Blocks until the function has returned. May be called again.
    package func join() {
        let thread = handle.withLock { handle in
            defer { handle = nil }
            return handle
        }
        if let thread { pthread_join(thread, nil) }
    }

    /// Starts a thread that nobody waits for. Where the system has none left, `body` runs here: slower, but never lost.
    package static func detach(_ body: @escaping @Sendable () -> Void) {
        if start(body, isDetached: true) == nil { body() }
    }
}

private final class ThreadBody: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

private func start(_ body: @escaping @Sendable () -> Void, isDetached: Bool) -> pthread_t? {
    let argument = Unmanaged.passRetained(ThreadBody(body))
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    defer { pthread_attr_destroy(&attributes) }
    if isDetached { pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED)) }
    pthread_attr_setstacksize(&attributes, 1 << 20)
    var thread = pthread_t()
    let status = pthread_create(
        &thread, &attributes,
        { argument in
            guard let argument else { return nil }
            // A pipe whose reader is gone is an error of write here, never a signal that ends the program.
            var brokenPipe = sigset_t()
            sigemptyset(&brokenPipe)
            sigaddset(&brokenPipe, SIGPIPE)
            pthread_sigmask(SIG_BLOCK, &brokenPipe, nil)
            Unmanaged<ThreadBody>.fromOpaque(argument).takeRetainedValue().run()
            return nil
        }, argument.toOpaque())
    guard status == 0 else {
        argument.release()
        return nil
    }
    return thread
}
