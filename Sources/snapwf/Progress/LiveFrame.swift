/// What stands at the bottom of a terminal, and the bytes that turn it into what is to stand there. A value without a
/// terminal: the cursor is taken to be at the beginning of the row below the lines.
struct LiveFrame {
    struct Size: Equatable {
        var columns: Int
        var rows: Int
    }

    /// The lines as they were written, each one row high at that time.
    private(set) var drawn: [String] = []
    private var columns = 0

    /// The lines that a terminal has room for, each cut so that it takes one row: what wraps cannot be overwritten.
    static func visible(_ lines: [String], size: Size, isUTF8: Bool) -> [String] {
        let room = max(size.rows - 2, 1)
        var shown = lines
        if lines.count > room {
            let hidden = lines.count - room + 1
            shown = Array(lines.prefix(room - 1)) + ["\(isUTF8 ? "…" : "...") and \(hidden) more"]
        }
        // Not the last column either: a terminal that has written there is of two minds where its cursor is.
        return shown.map { $0.harmless.fitted(to: max(size.columns - 1, 0), isUTF8: isUTF8) }
    }

    /// The bytes of the next frame; empty where nothing changes.
    ///
    /// - Parameter above: whole lines, which stand over the live ones from now on.
    mutating func draw(_ lines: [String], above: String = "", size: Size, isUTF8: Bool) -> String {
        let lines = Self.visible(lines, size: size, isUTF8: isUTF8)
        guard lines != drawn || !above.isEmpty || (size.columns != columns && !drawn.isEmpty) else { return "" }
        // Rows of a terminal that became narrower: what was drawn has been wrapped by it.
        let height = drawn.reduce(0) { $0 + max(1, ($1.columns + size.columns - 1) / max(size.columns, 1)) }
        var text = height > 0 ? "\u{1B}[\(height)A\r" : ""
        let isWhole = !above.isEmpty || lines.count < drawn.count || size.columns != columns
        if height > 0, isWhole { text += "\u{1B}[J" }
        text += above
        for (index, line) in lines.enumerated() {
            // What did not change is not written again: nothing flickers.
            text += !isWhole && index < drawn.count && drawn[index] == line ? "\r\n" : line + "\u{1B}[K\r\n"
        }
        drawn = lines
        columns = size.columns
        return text
    }

    /// Something else wrote to the terminal: what was drawn stays where it is, the next frame begins where the cursor is.
    mutating func forget() { drawn = [] }
}
