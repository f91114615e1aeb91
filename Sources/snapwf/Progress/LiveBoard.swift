import Files
import Synchronization

/// Lines at the bottom of a terminal that are drawn again as they change. What is printed goes above them.
///
/// Each frame is one write: the cursor goes up to the first line, each line is overwritten and its rest cleared. The
/// cursor is never hidden, so there is nothing to put right after a crash.
final class LiveBoard: Sendable {
    private struct State {
        /// By slot; nil for a slot that shows nothing.
        var lines: [Int: String] = [:]
        var drawn: [String] = []
    }

    private let terminal: Terminal
    private let state = Mutex(State())

    init(terminal: Terminal) {
        self.terminal = terminal
    }

    /// Shows `text` in a slot from now on; nil shows nothing there.
    func set(_ slot: Int, _ text: String?) {
        state.withLock { state in
            guard state.lines[slot] != text else { return }
            state.lines[slot] = text
            draw(&state, above: "")
        }
    }

    /// Prints lines, each with its newline, above the board.
    func print(_ text: String) {
        state.withLock { draw(&$0, above: text) }
    }

    /// Lets something else write to the same terminal: the board is away meanwhile.
    func making<E: Error>(room body: () throws(E) -> Void) throws(E) {
        let result = state.withLock { state -> Result<Void, E> in
            terminal.write(Self.frame(over: state.drawn, lines: [], above: "", columns: terminal.size.columns))
            state.drawn = []
            let result: Result<Void, E>
            do throws(E) {
                result = .success(try body())
            } catch {
                result = .failure(error)
            }
            draw(&state, above: "")
            return result
        }
        try result.get()
    }

    /// Takes the board away; what is printed from now on stands where it was.
    func clear() {
        state.withLock { state in
            state.lines = [:]
            draw(&state, above: "")
        }
    }

    private func draw(_ state: inout State, above: String) {
        let size = terminal.size
        let lines = Self.visible(state.lines.sorted { $0.key < $1.key }.map(\.value), size: size)
        let frame = Self.frame(over: state.drawn, lines: lines, above: above, columns: size.columns)
        state.drawn = lines
        terminal.write(frame)
    }

    /// The lines that the terminal has room for, each cut so that it takes one row: what wraps cannot be overwritten.
    static func visible(_ lines: [String], size: (columns: Int, rows: Int)) -> [String] {
        let room = max(size.rows - 2, 1)
        var shown = lines
        if lines.count > room {
            shown = Array(lines.prefix(room - 1)) + ["  and \(lines.count - room + 1) more"]
        }
        return shown.map { $0.shortened(to: max(size.columns - 1, 0)) }
    }

    /// What turns the drawn lines into the new ones.
    ///
    /// - Parameter columns: as many as there are now; a terminal that became narrower has wrapped what was drawn.
    static func frame(over drawn: [String], lines: [String], above: String, columns: Int) -> String {
        var text = ""
        let rows = drawn.reduce(0) { $0 + max(1, ($1.count + columns - 1) / max(columns, 1)) }
        if rows > 0 { text += "\u{1B}[\(rows)A\r" }
        if rows > 0, !above.isEmpty || rows > lines.count { text += "\u{1B}[J" }
        text += above
        for line in lines { text += line + "\u{1B}[K\n" }
        return text
    }
}
