import Files
import Glibc
import Synchronization

/// Lines at the bottom of a terminal that are drawn again as they change. What is printed goes above them.
///
/// Each frame is one write, and there are some ten a second however many runs there are. The cursor is never hidden, so
/// there is nothing to put right after a crash. The size is asked for at each frame.
final class LiveBoard: Sendable {
    private struct State {
        /// By slot; a slot that shows nothing is not there.
        var lines: [Int: String] = [:]
        var frame = LiveFrame()
        var painted: ContinuousClock.Instant?
    }

    /// Changes that come sooner after a frame wait for the next one.
    private static let interval = Duration.milliseconds(80)

    private let terminal: Terminal
    private let state = Mutex(State())

    init(terminal: Terminal) {
        self.terminal = terminal
        Continuation.listen()
    }

    /// Shows `text` in a slot from now on, or nothing there. To be called again and again while the text lives: a change
    /// that came too soon after another is drawn by a later call.
    func set(_ slot: Int, _ text: String?) {
        state.withLock { state in
            let isEnd = text == nil && state.lines[slot] != nil
            state.lines[slot] = text
            if let painted = state.painted, !isEnd, ContinuousClock.now - painted < Self.interval { return }
            draw(&state)
        }
    }

    /// Prints lines, each with its newline, above the board.
    func print(_ text: String) {
        state.withLock { draw(&$0, above: text) }
    }

    /// Lets something else write to the same terminal: the board is away meanwhile.
    func making<E: Error>(room body: () throws(E) -> Void) throws(E) {
        let result = state.withLock { state -> Result<Void, E> in
            let lines = state.lines
            state.lines = [:]
            draw(&state)
            state.lines = lines
            let result: Result<Void, E>
            do throws(E) {
                result = .success(try body())
            } catch {
                result = .failure(error)
            }
            draw(&state)
            return result
        }
        try result.get()
    }

    /// Takes the board away; what is printed from now on stands where it was.
    func clear() {
        state.withLock { state in
            state.lines = [:]
            draw(&state)
        }
    }

    private func draw(_ state: inout State, above: String = "") {
        let isForeground = terminal.isForeground
        // The shell has written its own lines below ours, and will again.
        if Continuation.happened() || !isForeground { state.frame.forget() }
        let size = terminal.size
        let lines = isForeground ? state.lines.sorted { $0.key < $1.key }.map(\.value) : []
        let text = state.frame.draw(
            lines, above: above, size: .init(columns: size.columns, rows: size.rows), isUTF8: Terminal.isUTF8)
        state.painted = .now
        terminal.write(text)
    }
}

/// Whether this process was stopped (Ctrl-Z) and goes on.
private enum Continuation {
    private static let flag = Atomic(false)

    /// From now on. The handler does nothing but to set the flag, which is there before it.
    static func listen() {
        flag.store(false, ordering: .relaxed)
        signal(SIGCONT) { _ in Continuation.flag.store(true, ordering: .relaxed) }
    }

    /// Since somebody last asked.
    static func happened() -> Bool { flag.exchange(false, ordering: .relaxed) }
}
