import Files
import Glibc

/// One of the standard streams, and what is known of the terminal behind it.
struct Terminal: Sendable {
    static let standardOutput = Terminal(descriptor: 1)
    static let standardError = Terminal(descriptor: 2)

    let descriptor: Int32

    /// A terminal on which a line may be drawn again.
    var isInteractive: Bool {
        guard isatty(descriptor) == 1 else { return false }
        return getenv("TERM").map { String(cString: $0) } != "dumb"
    }

    /// Columns of a terminal; nil for everything else, where a line may be as long as it is.
    var columns: Int? { isatty(descriptor) == 1 ? width : nil }

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

    /// Whether more than ASCII can be shown, as the locale says (POSIX: LC_ALL, else LC_CTYPE, else LANG).
    static var isUTF8: Bool {
        let said = variable("LC_ALL") ?? variable("LC_CTYPE") ?? variable("LANG")
        return said.map { $0.lowercased().contains("utf-8") || $0.lowercased().contains("utf8") } ?? false
    }

    /// An environment variable that is set to something.
    private static func variable(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }

    func write(_ text: String) { say(text, to: descriptor) }
}
