import Files
import Glibc

/// One of the standard streams, and what is known of the terminal behind it.
struct Terminal: Sendable {
    static let standardError = Terminal(descriptor: 2)

    let descriptor: Int32

    /// A terminal on which a line may be drawn again.
    var isInteractive: Bool {
        guard isatty(descriptor) == 1 else { return false }
        return getenv("TERM").map { String(cString: $0) } != "dumb"
    }

    /// Columns; 80 where nobody tells.
    private var width: Int {
        var size = winsize()
        guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 80 }
        return Int(size.ws_col)
    }

    /// `text` cut so that it takes one line: a line that wraps cannot be drawn again.
    func fitted(_ text: String) -> String {
        let width = width
        return text.count < width ? text : String(text.prefix(max(width - 1, 0)))
    }

    func write(_ text: String) { say(text, to: descriptor) }
}

extension String {
    /// With spaces behind it up to `width` characters.
    func padded(to width: Int) -> String {
        count >= width ? self : self + String(repeating: " ", count: width - count)
    }
}

/// A span for people: `0.4 s`, `12.3 s`, `4 min 05 s`, `2 h 10 min`.
func spanText(_ seconds: Double) -> String {
    let tenths = Int((max(seconds, 0) * 10).rounded())
    if tenths < 600 { return "\(tenths / 10).\(tenths % 10) s" }
    let whole = tenths / 10
    if whole < 3600 { return "\(whole / 60) min \(twoDigits(whole % 60)) s" }
    return "\(whole / 3600) h \(twoDigits(whole % 3600 / 60)) min"
}

func spanText(_ span: Duration) -> String { spanText(span / .seconds(1)) }

private func twoDigits(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
