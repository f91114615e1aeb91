import TestSupport
import Testing

@testable import snapwf

/// What is drawn at the bottom of a terminal, judged by a screen that obeys it.
struct LiveFrameTests {
    private static func size(_ columns: Int, _ rows: Int = 10) -> LiveFrame.Size { .init(columns: columns, rows: rows) }

    @Test("lines are drawn over the old ones, and what is printed stands above them")
    func frames() {
        var frame = LiveFrame()
        var screen = Screen(columns: 30, rows: 10)
        screen.write(frame.draw(["pull 1 %", "wait"], size: Self.size(30), isUTF8: true))
        screen.write(frame.draw(["pull 20 %", "wait"], size: Self.size(30), isUTF8: true))
        #expect(screen.lines.prefix(3) == ["pull 20 %", "wait", ""])
        screen.write(frame.draw(["pull 7 %", "wait"], above: "a note\n", size: Self.size(30), isUTF8: true))
        #expect(screen.text == "a note\npull 7 %\nwait")
        screen.write(frame.draw(["wait"], size: Self.size(30), isUTF8: true))
        #expect(screen.text == "a note\nwait")
        screen.write(frame.draw([], size: Self.size(30), isUTF8: true))
        #expect(screen.text == "a note" && screen.cursor == (1, 0) && screen.unknown.isEmpty)
    }

    @Test("a frame in which nothing changed is not written, and a line that did not change is not written again")
    func unchanged() {
        var frame = LiveFrame()
        _ = frame.draw(["first", "second"], size: Self.size(30), isUTF8: true)
        #expect(frame.draw(["first", "second"], size: Self.size(30), isUTF8: true) == "")
        let bytes = frame.draw(["first", "changed"], size: Self.size(30), isUTF8: true)
        #expect(!bytes.contains("first") && bytes.contains("changed"))
        #expect(!bytes.contains("\u{1B}[J") && !bytes.contains("\u{1B}[2J"), "the screen is cleared, which flickers")
    }

    @Test("no line wraps at any width, whatever is in it", arguments: 1...40)
    func widths(_ columns: Int) {
        let lines = [
            "  pull          ████████ 1.2 GiB of 3 GiB (41 %)", "镜像仓库/应用程序:最新", "한국어 이미지 👩‍👩‍👧 pull",
            "e\u{301}e\u{301}e\u{301} accents \u{1F4E6}\u{1F4E6}\u{1F4E6}", "two\nlines", "\u{1B}[2Jevil \u{9B}31m",
        ]
        var frame = LiveFrame()
        var screen = Screen(columns: columns, rows: 12)
        for _ in 0..<3 {
            screen.write(frame.draw(lines, size: Self.size(columns, 12), isUTF8: true))
            screen.write(frame.draw(Array(lines.reversed()), size: Self.size(columns, 12), isUTF8: true))
        }
        #expect(screen.wraps == 0 && screen.scrolledOff.isEmpty && screen.cursor == (lines.count, 0))
        #expect(screen.unknown.isEmpty, "other people's control characters reached the terminal: \(screen.unknown)")
        screen.write(frame.draw([], size: Self.size(columns, 12), isUTF8: true))
        #expect(screen.text == "")
    }

    @Test("more lines than rows say how many are not shown, and nothing scrolls", arguments: 1...12)
    func heights(_ rows: Int) {
        let lines = (1...20).map { "image \($0)" }
        var frame = LiveFrame()
        var screen = Screen(columns: 40, rows: rows)
        for tick in 0..<4 {
            screen.write(frame.draw(lines.map { "\($0) \(tick)" }, size: Self.size(40, rows), isUTF8: false))
        }
        let shown = max(rows - 2, 1)
        // On a single row the line and the cursor below it cannot both be seen.
        if rows > 1 { #expect(screen.scrolledOff.isEmpty) }
        #expect(screen.everything.contains("... and \(20 - shown + 1) more"), "\(screen.everything)")
    }

    @Test("a terminal that becomes narrower and wider between frames keeps one copy of each line")
    func resize() {
        var frame = LiveFrame()
        var screen = Screen(columns: 60, rows: 12)
        screen.write(frame.draw(["pull 10 %", "other 20 %"], size: Self.size(60), isUTF8: true))
        for columns in [30, 8, 13, 60, 20] {
            screen.resize(columns: columns)
            screen.write(frame.draw(["pull 10 %", "other 20 %"], size: Self.size(columns), isUTF8: true))
            let lines = screen.lines.filter { !$0.isEmpty }
            #expect(lines.count == 2 && lines[0].hasPrefix("pull 1") && lines[1].hasPrefix("other"), "\(lines)")
        }
        #expect(screen.wraps == 0)
    }

    @Test("after somebody else wrote to the terminal their lines stay, and ours are drawn below")
    func forgotten() {
        var frame = LiveFrame()
        var screen = Screen(columns: 40, rows: 12)
        screen.write(frame.draw(["pull 10 %"], size: Self.size(40), isUTF8: true))
        screen.write("$ fg\r\n")
        frame.forget()
        screen.write(frame.draw(["pull 11 %"], size: Self.size(40), isUTF8: true))
        screen.write(frame.draw(["pull 12 %"], size: Self.size(40), isUTF8: true))
        #expect(screen.text == "pull 10 %\n$ fg\npull 12 %")
    }
}
