import Files
import FoundationEssentials
import HelperInterface
import SnapshotSteps
import Synchronization
import Workflow

/// Tells a run to whoever looks: progress on standard error, the result on standard output.
final class RunReporter: Sendable {
    /// One of several images that one command works on.
    struct Part: Sendable {
        /// From 0, in the order of the command line.
        let index: Int
        let title: String
    }

    private let options: GlobalOptions
    private let mode: ProgressMode
    private let board: LiveBoard?
    private let part: Part?
    private let started = ContinuousClock.now
    private let progress = Mutex(ProgressText())

    init(options: GlobalOptions, progress: ProgressMode) {
        self.options = options
        mode = progress == .auto ? (Terminal.standardError.isInteractive ? .tty : .plain) : progress
        board = mode == .tty ? LiveBoard(terminal: .standardError) : nil
        part = nil
    }

    private init(_ whole: RunReporter, part: Part) {
        options = whole.options
        mode = whole.mode
        board = whole.board
        self.part = part
    }

    /// Tells of one image among several: its lines name it.
    func telling(of part: Part) -> RunReporter { RunReporter(self, part: part) }

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
        case .json: Terminal.standardError.write(JSONText.line(EventDocument(event, isLine: true)))
        default:
            if event.kind == SandboxLabel.noteEvent {
                line("  sandbox       \(event.words)")
            } else if let text = progress.withLock({ $0.take(event) }) {
                line(text)
            }
            draw()
        }
    }

    func show(_ step: PullProgress) {
        progress.withLock { $0.take(step, at: .now) }
    }

    /// A step that failed tries again at `date`.
    func wait(_ step: String, until date: Date) { progress.withLock { $0.wait(step, until: date) } }

    /// Draws the line that lives, if there is one; some ten times a second is enough.
    func draw() {
        guard let board, !options.quiet else { return }
        let width = Terminal.standardError.size.columns
        let isNarrow = width < ProgressText.narrow + Self.titleColumns + 1
        let room = part == nil || isNarrow ? width : width - Self.titleColumns - 1
        let text = progress.withLock {
            $0.line(now: Date(), width: part != nil && isNarrow ? 0 : room, isUTF8: Terminal.isUTF8)
        }
        // The title stands behind the figures where there is no room for both.
        board.set(
            part?.index ?? 0, text.map { text in part.map { isNarrow ? "\(text) \($0.title)" : titled(text) } ?? text })
    }

    private static let titleColumns = 18

    /// Nothing more happens to this run.
    func end() { board?.set(part?.index ?? 0, nil) }

    private func titled(_ text: String) -> String {
        guard let part else { return text }
        let title = part.title.harmless.endFitted(to: Self.titleColumns, isUTF8: Terminal.isUTF8)
        return title.filled(to: Self.titleColumns) + " " + text
    }

    private func line(_ text: String, evenWhenQuiet: Bool = false) {
        guard mode != .none, evenWhenQuiet || !options.quiet else { return }
        printAbove(titled(text).harmless + "\n")
    }

    /// Prints text, which ends with a newline, where the live lines do not overwrite it.
    func printAbove(_ text: String) {
        if let board { board.print(text) } else { Terminal.standardError.write(text) }
    }

    // MARK: - The end

    /// What was made, in the form that the flags ask for.
    ///
    /// - Throws: `ResultNotTold` when nobody could be told; the snapshot is made all the same.
    func succeed(_ result: SnapshotResult, run: String) throws {
        do throws(FileError) {
            try tell(result, run: run)
        } catch {
            throw ResultNotTold(run: run, snapshot: result.snapshotID, cause: error)
        }
    }

    private func tell(_ result: SnapshotResult, run: String) throws(FileError) {
        let seconds = (ContinuousClock.now - started) / .seconds(1)
        for warning in result.warnings where !options.quiet && !options.json {
            line("snapwf: warning: \(warning)")
        }
        // Standard output may be the same terminal.
        if part == nil { board?.clear() }
        guard let board else { return try deliver(result, run: run, seconds: seconds) }
        try board.making { () throws(FileError) in try deliver(result, run: run, seconds: seconds) }
    }

    private func deliver(_ result: SnapshotResult, run: String, seconds: Double) throws(FileError) {
        if options.json {
            let document = ResultDocument(result: result, run: run, seconds: seconds)
            try Files.deliver(part == nil ? JSONText.document(document) : JSONText.line(document))
        } else if options.quiet {
            try Files.deliver("\(result.exportedTo ?? result.snapshotID)\n")
        } else if part != nil {
            try Files.deliver("\(result.snapshotID)  \(result.image)\(result.cached ? " (cached)" : "")\n")
        } else {
            let elsewhere = result.pushedTo == nil ? "kept by the Sandbox API" : nil
            let rows: [(String, String?)] = [
                ("snapshot", result.snapshotID + (result.cached ? " (cached)" : "")),
                ("path", result.exportedTo ?? result.path ?? elsewhere),
                ("pushed", result.pushedTo),
                ("image", result.image),
                ("size", "\(byteCountText(result.size)), \(result.entries) entries"),
                ("sha256", result.sha256),
                ("time", spanText(seconds)),
            ]
            let lines = rows.compactMap { name, value in value.map { name.filled(to: 10) + $0.printable + "\n" } }
            try Files.deliver(lines.joined())
        }
    }

    /// Tells an error in full, on standard error, and as a document where documents are asked for.
    func fail(_ report: ErrorReport) {
        board?.set(part?.index ?? 0, nil)
        if part == nil { board?.clear() }
        if options.json {
            say(part == nil ? JSONText.document(report.document) : JSONText.line(report.document), to: 1)
        }
        printAbove(report.text(styled: Style(standardError: options.color)))
    }

    /// Runs a verb; an error that leaves it is told in full, and becomes the exit code that says the same.
    @MainActor
    func reportingErrors(_ body: @MainActor () async throws -> Void) async throws {
        do {
            try await body()
        } catch let exit as Exit {
            board?.clear()
            throw exit
        } catch {
            let report = ErrorReport(error)
            fail(report)
            throw Exit(report.status)
        }
    }
}
