import Files
import FoundationEssentials
import HelperInterface
import SnapshotSteps
import Synchronization
import Workflow

/// Tells a run to whoever looks: progress on standard error, the result on standard output.
final class RunReporter: Sendable {
    private let options: GlobalOptions
    private let mode: ProgressMode
    private let started = ContinuousClock.now
    private let state = Mutex(State())

    private struct State {
        /// When the steps that are under way began, by name.
        var begun: [String: Date] = [:]
        var hasLiveLine = false
        var speed = TransferSpeed()
        var lastProgress: (at: ContinuousClock.Instant, phase: PullProgress.Phase)?
    }

    init(options: GlobalOptions, progress: ProgressMode) {
        self.options = options
        mode = progress == .auto ? (Terminal.standardError.isInteractive ? .tty : .plain) : progress
    }

    // MARK: - Progress

    func begin(run: String, image: String, platform: String?) {
        guard mode != .json else { return }
        let platform = platform.map { " (\($0))" } ?? ""
        line("run \(run)" + (image.isEmpty ? "" : ": \(image)\(platform)"))
    }

    /// - Parameter always: also when only the result is wanted (`--quiet`).
    func note(_ message: String, always: Bool = true) {
        if mode == .json {
            Terminal.standardError.write(JSONText.line(Note(note: message)))
        } else {
            line("snapwf: \(message)", evenWhenQuiet: always)
        }
    }

    func show(_ event: EventRecord) {
        switch mode {
        case .none: return
        case .json: Terminal.standardError.write(JSONText.line(EventDocument(event)))
        default:
            if let text = describe(event) { line(text) }
        }
    }

    func show(_ progress: PullProgress) {
        let text: String? = state.withLock { state in
            let now = ContinuousClock.now
            if let last = state.lastProgress, last.phase == progress.phase, now - last.at < .milliseconds(100) {
                return nil
            }
            state.lastProgress = (now, progress.phase)
            state.speed.add(bytes: progress.bytes, at: now)
            guard mode == .tty else { return nil }
            state.hasLiveLine = true
            return describe(progress, speed: state.speed.bytesPerSecond)
        }
        if let text {
            Terminal.standardError.write("\r\u{1B}[K" + Terminal.standardError.fitted(text))
        }
    }

    private func describe(_ progress: PullProgress, speed: Double?) -> String {
        switch progress.phase {
        case .resolve: return "  pull          reading the manifest"
        case .layers where progress.total > 0: return "  pull          \(amount(progress, speed: speed))"
        case .layers, .write: return "  pull          writing the file system"
        case .checksum: return "  pull          computing the checksum"
        case .upload: return "  push          \(amount(progress, speed: speed))"
        case .download: return "  pull          \(amount(progress, speed: speed))"
        case .done: return "  pull          done"
        }
    }

    /// How much of how much, how fast, and how long it will take.
    private func amount(_ progress: PullProgress, speed: Double?) -> String {
        var text = "\(byteCountText(progress.bytes)) of \(byteCountText(progress.total)) (\(progress.percent) %)"
        if let speed, speed > 0, speed < 1e15 {
            text += ", \(byteCountText(UInt64(speed)))/s"
            let left = Double(progress.total - min(progress.bytes, progress.total)) / speed
            if left >= 1, left < 1e7 { text += ", \(spanText(.seconds(Int(left)))) left" }
        }
        return text
    }

    /// One line for what a person wants to know; nil for what is only for the record.
    private func describe(_ event: EventRecord) -> String? {
        if event.kind == SandboxLabel.noteEvent, let payload = event.payload,
            let note = try? JSONDecoder().decode(String.self, from: Data(payload.utf8))
        {
            return "  sandbox       note: \(note)"
        }
        guard let name = event.name else { return nil }
        let words: String
        switch event.kind {
        case "step.started", "resource.intended":
            state.withLock { $0.begun[name] = $0.begun[name] ?? event.at }
            return nil
        case "step.done": words = "done" + took(name, until: event.at)
        case "resource.held": words = "ready" + took(name, until: event.at)
        case "step.retrying": words = "attempt \(event.attempt ?? 1) failed, trying again" + reason(event)
        case "resource.retrying": words = "trying again" + reason(event)
        case "resource.lost": words = "lost, a new one takes its place"
        case "resource.released": words = "killed"
        case "resource.release_failed": words = "could not be killed" + reason(event)
        default: return nil
        }
        return "  " + name.padded(to: 13) + " " + words
    }

    private func took(_ name: String, until end: Date) -> String {
        let begun = state.withLock { $0.begun.removeValue(forKey: name) }
        return begun.map { " in \(spanText($0.distance(to: end)))" } ?? ""
    }

    private func reason(_ event: EventRecord) -> String {
        guard let payload = event.payload,
            let failure = try? JSONDecoder().decode(Failure.self, from: Data(payload.utf8))
        else { return "" }
        return ": \(failure.message)"
    }

    private func line(_ text: String, evenWhenQuiet: Bool = false) {
        guard mode != .none, evenWhenQuiet || !options.quiet else { return }
        let clear = state.withLock { state in
            defer { state.hasLiveLine = false }
            return state.hasLiveLine ? "\r\u{1B}[K" : ""
        }
        Terminal.standardError.write(clear + text + "\n")
    }

    private func clearLiveLine() {
        let isLive = state.withLock { state in
            defer { state.hasLiveLine = false }
            return state.hasLiveLine
        }
        if isLive { Terminal.standardError.write("\r\u{1B}[K") }
    }

    // MARK: - The end

    /// - Throws: `ResultNotTold` when nobody could be told; the snapshot is made all the same.
    func succeed(_ result: SnapshotResult, run: String) throws {
        clearLiveLine()
        do throws(FileError) {
            try tell(result, run: run)
        } catch {
            throw ResultNotTold(run: run, snapshot: result.snapshotID, cause: error)
        }
    }

    private func tell(_ result: SnapshotResult, run: String) throws(FileError) {
        let seconds = ContinuousClock.now - started
        if options.json {
            try deliver(JSONText.document(ResultDocument(result: result, run: run, seconds: seconds / .seconds(1))))
        } else if options.quiet {
            try deliver("\(result.exportedTo ?? result.snapshotID)\n")
        } else {
            for warning in result.warnings { line("snapwf: warning: \(warning)") }
            let rows = [
                ("snapshot", result.snapshotID + (result.cached ? " (cached)" : "")),
                ("path", result.exportedTo ?? result.path ?? "kept by the Sandbox API"),
                ("image", result.image),
                ("size", "\(byteCountText(result.size)), \(result.entries) entries"),
                ("sha256", result.sha256),
                ("time", spanText(seconds / .seconds(1))),
            ]
            try deliver(rows.map { name, value in name.padded(to: 10) + value + "\n" }.joined())
        }
    }

    /// Runs a verb; an error that leaves it is told in full, and becomes the exit code that says the same.
    @MainActor
    func reportingErrors(_ body: @MainActor () async throws -> Void) async throws {
        do {
            try await body()
        } catch let exit as Exit {
            throw exit
        } catch {
            clearLiveLine()
            let report = ErrorReport(error)
            if options.json { say(JSONText.document(report.document), to: 1) }
            Terminal.standardError.write(report.text)
            throw Exit(report.status)
        }
    }
}

/// Bytes per second over the last few seconds.
struct TransferSpeed {
    private var samples: [(at: ContinuousClock.Instant, bytes: UInt64)] = []

    mutating func add(bytes: UInt64, at now: ContinuousClock.Instant) {
        if let last = samples.last, bytes < last.bytes { samples.removeAll() }
        samples.append((now, bytes))
        while samples.count > 2, let first = samples.first, now - first.at > .seconds(5) { samples.removeFirst() }
    }

    var bytesPerSecond: Double? {
        guard let first = samples.first, let last = samples.last, last.at - first.at > .milliseconds(200) else {
            return nil
        }
        return Double(last.bytes - first.bytes) / ((last.at - first.at) / .seconds(1))
    }
}
