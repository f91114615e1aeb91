/// Columns as wide as their widest cell, two spaces between them; the last one is not padded.
///
/// - Parameter width: of the terminal; what the last column has too much gives way to `…`. Nil where a line may be as long
///   as it is.
/// - Parameter status: the column of a status, which is shown in its colour.
func table(
    _ rows: [[String]], width: Int? = nil, style: Style = Style(isOn: false), status: Int? = nil
) -> String {
    let rows = rows.map { $0.map(\.printable) }
    guard let columns = rows.map(\.count).max() else { return "" }
    let widths = (0..<columns).map { column in rows.map { $0.count > column ? $0[column].columns : 0 }.max() ?? 0 }
    return rows.map { row in
        let cells = row.enumerated().map { column, cell in
            column == row.count - 1 ? cell : cell.filled(to: widths[column])
        }
        let line =
            (width.map { cells.joined(separator: "  ").fitted(to: $0, isUTF8: Terminal.isUTF8) }
                ?? cells.joined(separator: "  "))
        // Cut first: what colours a word takes no room.
        guard let status, status < row.count, line.contains(row[status]) else { return line + "\n" }
        let start = cells[..<status].reduce(0) { $0 + $1.count + 2 }
        guard start + row[status].count <= line.count else { return line + "\n" }
        let from = line.index(line.startIndex, offsetBy: start)
        let to = line.index(from, offsetBy: row[status].count)
        return line[..<from] + style.status(String(line[from..<to])) + line[to...] + "\n"
    }.joined()
}

extension String {
    /// With spaces before it up to `width` characters.
    func aligned(to width: Int) -> String {
        count >= width ? self : String(repeating: " ", count: width - count) + self
    }
}
