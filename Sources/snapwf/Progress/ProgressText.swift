import FoundationEssentials
import HelperInterface
import Workflow

/// How far a run is, as one line for a person. A value: what it says depends on what it was told and on the time.
struct ProgressText {
    private var step: (name: String, since: Date)?
    private var progress: PullProgress?
    private var speed = TransferSpeed()
    /// When the steps that are under way began, by name.
    private var begun: [String: Date] = [:]
    private var waiting: (name: String, reason: String, until: Date?)?

    /// Takes what happened.
    ///
    /// - Returns: a line that stays, for what a person wants to know; nil for what is only for the record.
    mutating func take(_ event: EventRecord) -> String? {
        guard let name = event.name else { return nil }
        switch event.kind {
        case "step.started", "resource.intended":
            begun[name] = begun[name] ?? event.at
            step = (name, event.at)
            waiting = nil
            progress = nil
            return nil
        case "step.done", "resource.held":
            let began = begun.removeValue(forKey: name)
            step = nil
            progress = nil
            waiting = nil
            let took = began.map { " in \(spanText($0.distance(to: event.at)))" } ?? ""
            return Self.line(name, (event.kind == "step.done" ? "done" : "ready") + took)
        case "step.retrying":
            waiting = (name, Self.reason(event), nil)
            return Self.line(name, "attempt \(event.attempt ?? 1) failed, trying again" + Self.reason(event))
        case "resource.retrying":
            waiting = (name, Self.reason(event), nil)
            return Self.line(name, "trying again" + Self.reason(event))
        case "resource.lost": return Self.line(name, "lost, a new one takes its place")
        case "resource.releasing":
            step = (name, event.at)
            return nil
        case "resource.released":
            step = nil
            return Self.line(name, "killed")
        case "resource.release_failed": return Self.line(name, "could not be killed" + Self.reason(event))
        default: return nil
        }
    }

    /// The step tries again at `date`.
    mutating func wait(_ name: String, until date: Date) {
        if waiting?.name == name { waiting?.until = date }
    }

    mutating func take(_ progress: PullProgress, at now: ContinuousClock.Instant) {
        if self.progress?.phase != progress.phase { speed = TransferSpeed() }
        self.progress = progress
        speed.add(bytes: progress.bytes, at: now)
    }

    /// The line as it is now; nil while nothing is under way.
    ///
    /// - Parameters:
    ///   - width: of the terminal; the bar gives way first, then the words, and the figure last of all.
    ///   - isUTF8: whether block characters can be shown.
    func line(now: Date, width: Int, isUTF8: Bool) -> String? {
        if let waiting {
            let left = waiting.until.map { now.distance(to: $0) } ?? 0
            // Whole seconds: tenths that run down make nobody wiser.
            let span = left < 59.5 ? "\(Int(max(left, 0).rounded())) s" : spanText(left.rounded())
            if width < Self.narrow { return (left >= 1 ? "\(span) " : "") + "retry " + waiting.name }
            let when = left >= 1 ? "tries again in \(span)" : "tries again"
            return Self.line(waiting.name, when + waiting.reason)
        }
        if let progress, progress.phase != .done {
            let name = progress.phase == .upload ? "push" : step?.name ?? "pull"
            if width < Self.narrow, progress.total > 0 || step == nil { return "\(progress.percent)% \(name)" }
            if width >= Self.narrow {
                return Self.turning(Self.transfer(progress, name, amount(progress), width: width, isUTF8), now, isUTF8)
            }
        }
        guard let step else { return nil }
        let took = spanText(step.since.distance(to: now))
        return width < Self.narrow ? "\(took) \(step.name)" : Self.turning(Self.line(step.name, took), now, isUTF8)
    }

    /// Terminals with fewer columns are told the figure first: it must not be what is cut off.
    static let narrow = 34

    /// With a sign in the margin that turns as time goes by: the program is alive, whatever the figures do.
    private static func turning(_ line: String, _ now: Date, _ isUTF8: Bool) -> String {
        let signs = Array(isUTF8 ? "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" : "|/-\\")
        let tick = Int(max(min(now.timeIntervalSince1970, 1e12), 0) * 10)
        return "\(signs[tick % signs.count])" + line.dropFirst()
    }

    private static func transfer(
        _ progress: PullProgress, _ name: String, _ words: String, width: Int, _ isUTF8: Bool
    ) -> String {
        switch progress.phase {
        case .resolve: return line(name, "reading the manifest")
        case .layers where progress.total > 0, .upload, .download: break
        case .layers, .write: return line(name, "writing the file system")
        case .checksum: return line(name, "computing the checksum")
        case .done: return line(name, "done")
        }
        let room = min(width - 20 - words.count, 30)
        guard room >= 6 else { return line(name, words) }
        let filled = Int(Double(room) * Double(min(progress.percent, 100)) / 100)
        let bar =
            String(repeating: isUTF8 ? "█" : "#", count: filled)
            + String(repeating: isUTF8 ? "░" : "-", count: room - filled)
        return line(name, bar + " " + words)
    }

    /// How much of how much, how fast, and how long it will take.
    private func amount(_ progress: PullProgress) -> String {
        // What is cut off where there is no room stands last.
        var text = "\(progress.percent) %, \(byteCountText(progress.bytes)) of \(byteCountText(progress.total))"
        if let speed = speed.bytesPerSecond, speed > 0, speed < 1e15 {
            text += ", \(byteCountText(UInt64(speed)))/s"
            let left = Double(progress.total - min(progress.bytes, progress.total)) / speed
            if left >= 1, left < 1e7 { text += ", \(spanText(.seconds(Int(left)))) left" }
        }
        return text
    }

    static func line(_ name: String, _ words: String) -> String { "  " + name.filled(to: 13) + " " + words.printable }

    private static func reason(_ event: EventRecord) -> String { event.failure.map { ": \($0.message)" } ?? "" }
}

/// Bytes per second over the last few seconds.
struct TransferSpeed {
    private var samples: [(at: ContinuousClock.Instant, bytes: UInt64)] = []

    mutating func add(bytes: UInt64, at now: ContinuousClock.Instant) {
        if let last = samples.last, bytes < last.bytes { samples.removeAll() }
        samples.append((now, bytes))
        while samples.count > 2, let first = samples.first, samples.count > 200 || now - first.at > .seconds(5) {
            samples.removeFirst()
        }
    }

    var bytesPerSecond: Double? {
        guard let first = samples.first, let last = samples.last, last.at - first.at > .milliseconds(200) else {
            return nil
        }
        return Double(last.bytes - first.bytes) / ((last.at - first.at) / .seconds(1))
    }
}
