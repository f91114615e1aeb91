import Files
import Glibc

/// One of the standard streams, and what is known of the terminal behind it.
struct Terminal: Sendable {
    static let standardOutput = Terminal(descriptor: 1)
    static let standardError = Terminal(descriptor: 2)

    let descriptor: Int32

    /// A terminal on which a line may be drawn again.
    var isInteractive: Bool { isatty(descriptor) == 1 && variable("TERM") != "dumb" }

    /// Whether the terminal is ours to draw on: not while the shell has this program in the background.
    var isForeground: Bool {
        let group = tcgetpgrp(descriptor)
        return group < 0 || group == getpgrp()
    }

    /// Columns of a terminal; nil for everything else, where a line may be as long as it is.
    var columns: Int? { isatty(descriptor) == 1 ? size.columns : nil }

    /// As it is now; 80 by 24 where nobody tells.
    var size: (columns: Int, rows: Int) {
        var size = winsize()
        guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return (80, 24) }
        return (Int(size.ws_col), size.ws_row > 0 ? Int(size.ws_row) : 24)
    }

    /// Whether more than ASCII can be shown, as the locale says (POSIX: LC_ALL, else LC_CTYPE, else LANG).
    static var isUTF8: Bool {
        let said = (variable("LC_ALL") ?? variable("LC_CTYPE") ?? variable("LANG"))?.lowercased() ?? ""
        return said.contains("utf-8") || said.contains("utf8")
    }

    func write(_ text: String) {
        if !text.isEmpty { say(text, to: descriptor) }
    }
}

/// An environment variable that is set to something.
private func variable(_ name: String) -> String? {
    getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
}
