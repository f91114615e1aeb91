/// A terminal's screen, as far as programs here use one. It wraps and scrolls as terminals do, and remembers what it did
/// not understand. It shares no code with what it judges.
package struct Screen {
    package private(set) var columns: Int
    package let rows: Int
    private var cells: [[String]]
    private var row = 0
    private var column = 0
    /// What went out at the top.
    package private(set) var scrolledOff: [String] = []
    /// Sequences that it does not know, and control characters that nobody should send.
    package private(set) var unknown: [String] = []
    /// How often a line went on in the next row because it was too long.
    package private(set) var wraps = 0

    package init(columns: Int, rows: Int) {
        self.columns = columns
        self.rows = rows
        cells = Array(repeating: [], count: rows)
    }

    /// The lines as they look, spaces at the end left out.
    package var lines: [String] { cells.map { Self.text($0) } }
    /// The same without the empty rows at the bottom.
    package var text: String {
        var lines = lines
        while lines.last == "" { lines.removeLast() }
        return lines.joined(separator: "\n")
    }
    package var everything: String { (scrolledOff + [text]).joined(separator: "\n") }
    package var cursor: (row: Int, column: Int) { (row, column) }

    /// A terminal that does not wrap anew what is there, as xterm.
    package mutating func resize(columns: Int) {
        self.columns = columns
        column = min(column, columns - 1)
        cells = cells.map { Array($0.prefix(columns)) }
    }

    package mutating func write(_ text: String) {
        var rest = Array(text.unicodeScalars)[...]
        while let scalar = rest.popFirst() {
            switch scalar {
            case "\u{1B}": escape(&rest)
            case "\r": column = 0
            case "\n": lineFeed()
            case _ where scalar.value < 32 || (0x7F...0x9F).contains(scalar.value): unknown.append("\(scalar.value)")
            default: put(scalar)
            }
        }
    }

    private mutating func escape(_ rest: inout ArraySlice<Unicode.Scalar>) {
        var sequence = ""
        while let scalar = rest.popFirst() {
            sequence.unicodeScalars.append(scalar)
            if scalar != "[", ("@"..."~").contains(scalar) { break }
        }
        let number = Int(sequence.dropFirst().dropLast()) ?? 1
        switch (sequence.first, sequence.last) {
        case ("[", "A"): row = max(row - number, 0)
        case ("[", "m"): break
        case ("[", "K") where sequence == "[K": cells[row] = Array(cells[row].prefix(column))
        case ("[", "J") where sequence == "[J":
            cells[row] = Array(cells[row].prefix(column))
            for below in cells.indices.dropFirst(row + 1) { cells[below] = [] }
        default: unknown.append(sequence)
        }
    }

    private mutating func put(_ scalar: Unicode.Scalar) {
        let width = Self.width(scalar)
        guard width > 0 else { return }
        if column + width > columns {
            wraps += 1
            column = 0
            lineFeed()
        }
        while cells[row].count < column + width { cells[row].append(" ") }
        cells[row][column] = String(scalar)
        if width == 2 { cells[row][column + 1] = "" }
        column += width
    }

    /// With a return to the first column: that is what a terminal's line discipline makes of a newline (ONLCR).
    private mutating func lineFeed() {
        column = 0
        row += 1
        guard row == rows else { return }
        row -= 1
        scrolledOff.append(Self.text(cells.removeFirst()))
        cells.append([])
    }

    private static func text(_ cells: [String]) -> String {
        var text = cells.joined()
        while text.last == " " { text.removeLast() }
        return text
    }

    /// Enough for the texts of the tests: Chinese, Japanese and Korean, pictures, combining accents.
    private static func width(_ scalar: Unicode.Scalar) -> Int {
        switch scalar.value {
        case 0x300...0x36F, 0x200B...0x200F: 0
        case 0x3040...0x9FFF, 0xAC00...0xD7A3, 0xFF01...0xFF60, 0x1F300...0x1F9FF: 2
        default: 1
        }
    }
}
