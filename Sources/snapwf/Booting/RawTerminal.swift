import Glibc
import GuestProtocol
import Sandbox
import SnapshotSteps
import Synchronization
import Dispatch

/// This program's terminal in raw mode, for a terminal elsewhere: keys go there as they are, and a new size is told.
final class RawTerminal {
    private let before: termios
    private let resizes: any DispatchSourceSignal

    /// - Throws: `usage` when standard input is no terminal.
    init(_ control: GuestControl) throws(SnapshotError) {
        var settings = termios()
        guard tcgetattr(STDIN_FILENO, &settings) == 0 else {
            throw SnapshotError(.usage, "-t needs a terminal as standard input; leave it out: -i")
        }
        before = settings
        Self.saved.withLock { $0 = settings }
        cfmakeraw(&settings)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &settings)
        signal(SIGWINCH, SIG_IGN)
        resizes = DispatchSource.makeSignalSource(signal: SIGWINCH, queue: .global())
        resizes.setEventHandler {
            if let size = Self.size { control.resize(size) }
        }
        resizes.activate()
    }

    /// Of the terminal at standard input; nil where there is none.
    static var size: TerminalSize? {
        var size = winsize()
        guard isatty(STDIN_FILENO) == 1, ioctl(STDIN_FILENO, UInt(TIOCGWINSZ), &size) == 0 else { return nil }
        // Nobody has told a serial line how large it is.
        guard size.ws_row > 0, size.ws_col > 0 else { return TerminalSize(rows: 24, columns: 80) }
        return TerminalSize(rows: size.ws_row, columns: size.ws_col)
    }

    func restore() {
        resizes.cancel()
        var settings = before
        tcsetattr(STDIN_FILENO, TCSADRAIN, &settings)
        Self.saved.withLock { $0 = nil }
    }

    private static let saved = Mutex<termios?>(nil)

    /// For who leaves at once: the terminal as it was, if it is another one now.
    static func restoreAny() {
        guard var settings = saved.withLock({ $0 }) else { return }
        tcsetattr(STDIN_FILENO, TCSANOW, &settings)
    }
}

/// Standard input, passed on piece by piece by a thread of its own.
///
/// The thread may stay in its last read: it ends with the process.
final class StandardInput: Sendable {
    private let isStopped = Atomic(false)

    init(_ feed: CommandFeed) {
        Task {
            while !isStopped.load(ordering: .acquiring) {
                guard let bytes = await next(), !bytes.isEmpty else { break }
                guard (try? await feed.write(bytes)) == true else { return }
            }
            feed.finish()
        }
    }

    func stop() { isStopped.store(true, ordering: .releasing) }

    /// The next piece; empty at the end.
    private func next() async -> [UInt8]? {
        await withCheckedContinuation { continuation in
            Self.queue.async {
                var bytes = [UInt8](repeating: 0, count: 64 << 10)
                var count: Int
                repeat {
                    count = read(STDIN_FILENO, &bytes, bytes.count)
                    if count < 0, errno == EAGAIN {
                        // Whoever started this program reads the same pipe without waiting.
                        var ready = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
                        poll(&ready, 1, -1)
                        errno = EINTR
                    }
                } while count < 0 && errno == EINTR
                continuation.resume(returning: count < 0 ? nil : Array(bytes.prefix(count)))
            }
        }
    }

    private static let queue = DispatchQueue(label: "snapwf.standard-input")
}
