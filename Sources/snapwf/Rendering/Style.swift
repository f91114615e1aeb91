import Glibc

/// How `--color` is answered.
enum ColorMode: String, CaseIterable { case auto, always, never }

/// Colours for one stream, or none. What a word says never depends on its colour.
struct Style: Sendable {
    private let isOn: Bool

    init(isOn: Bool) { self.isOn = isOn }

    init(standardOutput mode: ColorMode) { self.init(mode, .standardOutput) }
    init(standardError mode: ColorMode) { self.init(mode, .standardError) }

    /// NO_COLOR (no-color.org) is obeyed unless `--color always` is said.
    private init(_ mode: ColorMode, _ terminal: Terminal) {
        switch mode {
        case .always: isOn = true
        case .never: isOn = false
        case .auto: isOn = terminal.isInteractive && !(getenv("NO_COLOR").map { $0.pointee != 0 } ?? false)
        }
    }

    func good(_ text: String) -> String { painted(text, "32") }
    func bad(_ text: String) -> String { painted(text, "31") }
    func open(_ text: String) -> String { painted(text, "33") }
    func strong(_ text: String) -> String { painted(text, "1") }

    /// A status or a verdict in the colour that its meaning has.
    func status(_ text: String) -> String {
        let word = text.prefix { $0 != " " }
        switch word {
        case "succeeded", "done", "ok", "alive": return good(text)
        case "failed", "FAIL", "died", "lost": return bad(text)
        case "interrupted", "parked", "queued", "running", "sleeping", "pending", "warn", "at": return open(text)
        default: return text
        }
    }

    private func painted(_ text: String, _ code: String) -> String {
        isOn && !text.isEmpty ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
    }
}
