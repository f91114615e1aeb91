import FoundationEssentials
import Workflow

/// What happened in a run, as spans of time: attempts, waits for the next one, resources, and the time in which nobody
/// worked on it.
struct Timeline {
    struct Span: Encodable, Hashable {
        enum Kind: String, Encodable { case attempt, wait, resource, interruption }

        let kind: Kind
        /// The step's or the resource's name; empty for an interruption.
        let name: String
        /// The attempt, or the generation of a resource.
        let number: Int
        let startedAt: Date
        /// Nil while it goes on.
        var endedAt: Date?
        /// `done`, `failed`, `retrying`, `interrupted`, `died`, `in doubt`, `lost`, `released`, `release failed`, or empty
        /// while it goes on.
        var outcome = ""
        var error: String?
    }

    private(set) var spans: [Span] = []
    /// The span of each name that goes on.
    private var open: [String: Int] = [:]
    private var waiting: [String: Int] = [:]
    private var last: Date?

    /// - Parameter isAtWork: whether a process works on the run now; what else goes on died with its process.
    init(_ events: [EventRecord], isAtWork: Bool = true) {
        for event in events {
            add(event)
            last = event.at
        }
        if !isAtWork { bury() }
        spans.sort { ($0.startedAt, $0.kind == .resource ? 0 : 1) < ($1.startedAt, $1.kind == .resource ? 0 : 1) }
    }

    private mutating func add(_ event: EventRecord) {
        let name = event.name ?? ""
        switch event.kind {
        case "run.resumed": resume(at: event.at)
        case "step.started":
            end(name, event, "died")
            if let wait = waiting.removeValue(forKey: name) { spans[wait].endedAt = event.at }
            begin(.attempt, name, event.attempt ?? 1, event)
        case "step.done": end(name, event, "done")
        case "step.failed": end(name, event, "failed")
        case "step.interrupted": end(name, event, "interrupted")
        case "step.in_doubt": end(name, event, "in doubt")
        case "step.retrying":
            end(name, event, "retrying")
            waiting[name] = spans.count
            spans.append(Span(kind: .wait, name: name, number: event.attempt ?? 1, startedAt: event.at))
        case "resource.intended":
            let number = spans.filter { $0.kind == .resource && $0.name == name }.count + 1
            begin(.resource, name, number, event)
        case "resource.lost": end(name, event, "lost", as: .resource)
        case "resource.released": end(name, event, "released", as: .resource)
        case "resource.release_failed": end(name, event, "release failed", as: .resource)
        case "run.succeeded", "run.failed", "run.cancelled":
            for wait in waiting.values { spans[wait].endedAt = event.at }
            waiting = [:]
        default: break
        }
    }

    private mutating func begin(_ kind: Span.Kind, _ name: String, _ number: Int, _ event: EventRecord) {
        open[key(kind, name)] = spans.count
        spans.append(Span(kind: kind, name: name, number: number, startedAt: event.at))
    }

    private mutating func end(
        _ name: String, _ event: EventRecord, _ outcome: String, as kind: Span.Kind = .attempt
    ) {
        guard let index = open.removeValue(forKey: key(kind, name)) else { return }
        spans[index].endedAt = outcome == "died" ? spans[index].endedAt ?? event.at : event.at
        spans[index].outcome = outcome
        spans[index].error = event.failure?.message
    }

    /// Somebody took the run up again: until now nobody worked on it.
    private mutating func resume(at now: Date) {
        guard let last else { return }
        bury()
        spans.append(
            Span(kind: .interruption, name: "", number: 0, startedAt: last, endedAt: now, outcome: "interrupted"))
    }

    /// What was under way died with its process, nobody knows when; the last sign of life is the best that is known.
    private mutating func bury() {
        guard let last else { return }
        for (key, index) in open where spans[index].kind == .attempt {
            spans[index].endedAt = max(last, spans[index].startedAt)
            spans[index].outcome = "died"
            open[key] = nil
        }
    }

    private func key(_ kind: Span.Kind, _ name: String) -> String { kind.rawValue + " " + name }
}

extension Timeline {
    /// A line a span: when it began, how long it took, what it was, and where the room allows it a bar.
    ///
    /// - Parameters:
    ///   - began: when the run did.
    ///   - now: where what goes on ends for the time being.
    ///   - width: of the terminal; nil where there is none, and no bar.
    ///   - isUTF8: whether block characters can be shown.
    func text(from began: Date, now: Date, width: Int?, isUTF8: Bool) -> String {
        let end = spans.reduce(began) { max($0, $1.endedAt ?? now) }
        let rows = spans.map { span in
            (
                start: spanText(began.distance(to: span.startedAt)),
                took: spanText(span.startedAt.distance(to: span.endedAt ?? now)) + (span.endedAt == nil ? "…" : ""),
                what: span.title, note: span.note
            )
        }
        let columns = (
            start: max(5, rows.map(\.start.count).max() ?? 0), took: max(4, rows.map(\.took.count).max() ?? 0),
            what: max(4, rows.map(\.what.columns).max() ?? 0)
        )
        let room = (width ?? 0) - columns.start - columns.took - columns.what - 6
        let bar = room >= 34 ? min(40, room - 22) : 0
        let head = "START".aligned(to: columns.start) + "  " + "TOOK".aligned(to: columns.took) + "  WHAT"
        var text = (width.map { head.fitted(to: $0, isUTF8: Terminal.isUTF8) } ?? head) + "\n"
        for (span, row) in zip(spans, rows) {
            var line = row.start.aligned(to: columns.start) + "  " + row.took.aligned(to: columns.took) + "  "
            line += row.what.filled(to: columns.what) + "  "
            if bar > 0 {
                line += span.bar(from: began, to: end, now: now, width: bar, isUTF8: isUTF8) + "  "
            }
            line += row.note
            while line.last == " " { line.removeLast() }
            text += (width.map { line.fitted(to: $0, isUTF8: Terminal.isUTF8) } ?? line) + "\n"
        }
        return text
    }
}

extension Timeline.Span {
    fileprivate var title: String {
        switch kind {
        case .attempt: number > 1 ? "\(name) (attempt \(number))" : name
        case .wait: "  waits to try again"
        case .resource: number > 1 ? "\(name) #\(number)" : name
        case .interruption: "(nobody at work)"
        }
    }

    fileprivate var note: String {
        let words =
            switch (kind, outcome) {
            case (_, "done"), (.interruption, _): ""
            case (.resource, "released"): "killed"
            case (_, "died"): "died with its process"
            case (_, "retrying"): "failed"
            case (_, ""): kind == .resource ? "alive" : kind == .wait && endedAt != nil ? "" : "at work"
            default: outcome
            }
        // That it was told to stop is no news, in whatever words.
        if outcome == "interrupted" { return words }
        return words + (error.map { words.isEmpty ? $0 : ": \($0)" } ?? "")
    }

    fileprivate func bar(from began: Date, to end: Date, now: Date, width: Int, isUTF8: Bool) -> String {
        let whole = max(began.distance(to: end), 0.001)
        func place(_ date: Date) -> Int {
            Int((min(max(began.distance(to: date) / whole, 0), 1) * Double(width)).rounded(.down))
        }
        let first = min(place(startedAt), width - 1)
        let last = min(max(place(endedAt ?? now), first + 1), width)
        let mark =
            switch kind {
            case .attempt: isUTF8 ? "█" : "="
            case .resource: isUTF8 ? "─" : "-"
            case .wait, .interruption: isUTF8 ? "·" : "."
            }
        return String(repeating: " ", count: first) + String(repeating: mark, count: last - first)
            + String(repeating: " ", count: width - last)
    }
}
