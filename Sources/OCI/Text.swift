/// Foreign text made fit for a message: quoted, without control characters, cut at `limit` characters.
func excerpt(_ text: some StringProtocol, limit: Int = 200) -> String {
    "\"\(printable(text, limit: limit))\""
}

/// Foreign text made fit for a terminal: control characters become spaces, cut at `limit` characters.
func printable(_ text: some StringProtocol, limit: Int = 300) -> String {
    var kept = String.UnicodeScalarView()
    var count = 0
    for scalar in text.unicodeScalars {
        guard count < limit else {
            kept.append("…")
            break
        }
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .surrogate:
            kept.append(" ")
        default:
            kept.append(scalar)
        }
        count += 1
    }
    return String(kept)
}

extension Substring {
    /// The text without leading and trailing spaces and tabs.
    func trimmingBlanks() -> Substring {
        var rest = self
        while let first = rest.first, first == " " || first == "\t" { rest.removeFirst() }
        while let last = rest.last, last == " " || last == "\t" { rest.removeLast() }
        return rest
    }
}
