extension Unicode.Scalar {
    /// Columns that a terminal gives it: 0, 1 or 2, by East_Asian_Width (Unicode Standard Annex #11: W and F are wide) and
    /// the general category (marks and format characters take no room).
    var columns: Int {
        switch properties.generalCategory {
        case .nonspacingMark, .enclosingMark, .format, .control, .lineSeparator, .paragraphSeparator: return 0
        default: break
        }
        switch value {
        // Vowels and finals of Hangul join the consonant before them.
        case 0x1160...0x11FF: return 0
        case ..<0x1100: return 1
        case 0x1100...0x115F, 0x2329...0x232A, 0x2E80...0x303E, 0x3041...0xA4CF, 0xA960...0xA97F, 0xAC00...0xD7A3,
            0xF900...0xFAFF, 0xFE10...0xFE19, 0xFE30...0xFE6F, 0xFF01...0xFF60, 0xFFE0...0xFFE6, 0x16FE0...0x18CFF,
            0x1AFF0...0x1B2FF, 0x1F200...0x1F2FF, 0x20000...0x3FFFD:
            return 2
        default: return properties.isEmojiPresentation ? 2 : 1
        }
    }
}

extension Character {
    /// The most columns that any terminal gives it. Some draw the parts of a joined emoji one after the other: a line that
    /// is measured too long is cut early, one that is measured too short wraps and cannot be overwritten.
    var columns: Int {
        let sum = unicodeScalars.reduce(0) { $0 + $1.columns }
        // Variation selector 16 asks for the picture, which is wide.
        return unicodeScalars.contains { $0.value == 0xFE0F } ? max(sum, 2) : sum
    }
}

extension StringProtocol {
    /// Columns that it takes on a terminal; control characters take none.
    var columns: Int { reduce(0) { $0 + $1.columns } }

    /// The longest beginning that takes no more than `columns`.
    func prefix(columns: Int) -> SubSequence {
        var room = columns
        var end = startIndex
        while end < endIndex {
            room -= self[end].columns
            guard room >= 0 else { break }
            end = index(after: end)
        }
        return self[..<end]
    }

    /// The longest end that takes no more than `columns`.
    func suffix(columns: Int) -> SubSequence {
        var room = columns
        var start = endIndex
        while start > startIndex {
            let before = index(before: start)
            room -= self[before].columns
            guard room >= 0 else { break }
            start = before
        }
        return self[start...]
    }

    /// On one line and without what a terminal would obey or turn round: other people's words are shown, not executed.
    var harmless: String {
        let isHarmless = unicodeScalars.allSatisfy { !$0.isCommand }
        if isHarmless { return String(self) }
        var text = String.UnicodeScalarView()
        for scalar in unicodeScalars { text.append(scalar.isCommand ? " " : scalar) }
        return String(text)
    }
}

extension Unicode.Scalar {
    /// C0, DEL and C1, ends of lines, and the overrides of the direction of writing (Unicode Standard Annex #9).
    fileprivate var isCommand: Bool {
        switch properties.generalCategory {
        case .control, .lineSeparator, .paragraphSeparator: true
        default: (0x202A...0x202E).contains(value) || (0x2066...0x2069).contains(value)
        }
    }
}

extension String {
    /// At most `columns` wide, the last of them `…` (or `~`, in ASCII) where something is missing.
    func fitted(to columns: Int, isUTF8: Bool) -> String {
        guard self.columns > columns else { return self }
        return columns > 0 ? prefix(columns: columns - 1) + (isUTF8 ? "…" : "~") : ""
    }

    /// The same, with the beginning missing: the end of a reference says more than its beginning.
    func endFitted(to columns: Int, isUTF8: Bool) -> String {
        guard self.columns > columns else { return self }
        return columns > 0 ? (isUTF8 ? "…" : "~") + suffix(columns: columns - 1) : ""
    }

    /// With spaces behind it up to `columns`.
    func filled(to columns: Int) -> String {
        self + String(repeating: " ", count: max(columns - self.columns, 0))
    }
}
