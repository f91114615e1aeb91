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
        guard ioctl(STDIN_FILENO, UInt(TIOCGWINSZ), &size) == 0 else { return nil }
        return TerminalSize(rows: size.ws_row, columns: size.ws_col)
    }

    func restore() {
        resizes.cancel()
        var settings = before
        tcsetattr(STDIN_FILENO, TCSADRAIN, &settings)
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
                repeat { count = read(STDIN_FILENO, &bytes, bytes.count) } while count < 0 && errno == EINTR
                continuation.resume(returning: count < 0 ? nil : Array(bytes.prefix(count)))
            }
        }
    }

    private static let queue = DispatchQueue(label: "snapwf.standard-input")
}
