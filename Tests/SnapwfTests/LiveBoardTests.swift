import Testing

@testable import snapwf

/// The frames of the live view, without a terminal.
struct LiveBoardTests {
    @Test("a frame goes up over what was drawn, also where a narrower terminal has wrapped it")
    func frames() {
        #expect(LiveBoard.frame(over: [], lines: ["a"], above: "", columns: 80) == "a\u{1B}[K\n")
        #expect(LiveBoard.frame(over: ["a"], lines: ["b"], above: "", columns: 80) == "\u{1B}[1A\rb\u{1B}[K\n")
        let wrapped = LiveBoard.frame(over: [String(repeating: "x", count: 25)], lines: ["b"], above: "", columns: 10)
        #expect(wrapped.hasPrefix("\u{1B}[3A\r\u{1B}[J"))
        #expect(LiveBoard.frame(over: ["a"], lines: [], above: "said\n", columns: 80) == "\u{1B}[1A\r\u{1B}[Jsaid\n")
    }

    @Test("no more lines than rows, none wider than the terminal, and what is left out is counted")
    func room() {
        let lines = (0..<50).map { "line \($0) " + String(repeating: "x", count: 50) }
        for (columns, rows) in [(80, 24), (8, 4), (1, 1), (20, 2)] {
            let shown = LiveBoard.visible(lines, size: (columns, rows))
            #expect(shown.count <= max(rows - 2, 1) && shown.allSatisfy { $0.count <= max(columns - 1, 0) })
        }
        #expect(LiveBoard.visible(lines, size: (80, 24)).last == "  and 29 more")
    }
}
