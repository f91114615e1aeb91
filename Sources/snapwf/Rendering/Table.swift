/// Columns as wide as their widest cell, two spaces between them; the last one is not padded.
///
/// - Parameter width: of the terminal; what the last column has too much gives way to `…`. Nil where a line may be as long
///   as it is.
func table(_ rows: [[String]], width: Int? = nil) -> String {
    guard let columns = rows.map(\.count).max() else { return "" }
    let widths = (0..<columns).map { column in rows.map { $0.count > column ? $0[column].count : 0 }.max() ?? 0 }
    return rows.map { row in
        let line = row.enumerated().map { column, cell in
            column == row.count - 1 ? cell : cell.padded(to: widths[column])
        }.joined(separator: "  ")
        return (width.map { line.shortened(to: $0) } ?? line) + "\n"
    }.joined()
}

extension String {
    /// With spaces behind it up to `width` characters.
    func padded(to width: Int) -> String {
        count >= width ? self : self + String(repeating: " ", count: width - count)
    }

    /// With spaces before it up to `width` characters.
    func aligned(to width: Int) -> String {
        count >= width ? self : String(repeating: " ", count: width - count) + self
    }

    /// At most `width` characters, the last of them `…` where something is missing.
    func shortened(to width: Int) -> String {
        count <= width ? self : String(prefix(max(width - 1, 0))) + (width > 0 ? "…" : "")
    }
}
