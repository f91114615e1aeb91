import Files
import FoundationEssentials
import Glibc
import HelperInterface
import Synchronization

/// The verb failed, and what there was to say about it has been said.
struct Reported: Error {
    let status: ExitStatus
}

/// Says what happens: to a program as JSON lines on standard output, to a person as lines on standard error.
///
/// Progress is told at most four times a second, and whenever the phase changes.
final class Reporter: Sendable {
    private let mode: ProgressMode
    private let last = Mutex<(at: ContinuousClock.Instant, phase: PullProgress.Phase)?>(nil)
    private let isTerminal: Bool

    init(mode: ProgressMode) {
        self.isTerminal = isatty(2) == 1
        self.mode = mode == .auto ? .plain : mode
    }

    func progress(_ progress: PullProgress) {
        guard mode == .json || (mode == .plain && isTerminal) else { return }
        let now = ContinuousClock.now
        let due = last.withLock { last in
            if let last, last.phase == progress.phase, now - last.at < .milliseconds(250) { return false }
            last = (now, progress.phase)
            return true
        }
        guard due else { return }
        if mode == .json {
            line(.progress(progress))
        } else {
            say("\r\u{1B}[K\(progress.phase.rawValue) \(byteCountText(progress.bytes)) (\(progress.percent) %)", to: 2)
        }
    }

    func warning(_ message: String) {
        switch mode {
        case .json: line(.warning(message))
        case .none: break
        default: say("\(lineStart)snapshot: warning: \(message)\n", to: 2)
        }
    }

    func failure(_ failure: HelperFailure) {
        if mode == .json { line(.failure(failure)) }
        say("\(mode == .plain ? lineStart : "")snapshot: \(failure.message)\n", to: 2)
    }

    /// Does what a verb does to `output`; an error that leaves it is told, and becomes the exit code that says the same.
    @MainActor
    func reportingErrors(of output: String, _ body: @MainActor () async throws -> Void) async throws(Reported) {
        do {
            try await body()
        } catch {
            let (failure, status) = HelperFailure.describing(error, output: output)
            self.failure(failure)
            throw Reported(status: status)
        }
    }

    /// The file is made and stays; who waits for this line would take the pull for failed without it.
    func result(_ result: PullResult) throws(ResultNotTold) {
        do throws(FileError) {
            try tell(result)
        } catch {
            throw ResultNotTold(output: result.output, cause: error)
        }
    }

    /// What was pushed stays pushed, as for ``result(_:)``.
    func pushed(_ result: PushResult) throws(ResultNotTold) {
        do throws(FileError) {
            switch mode {
            case .json: try deliver(text(.pushed(result)))
            case .none: break
            default:
                say(lineStart, to: 2)
                let sent = byteCountText(result.bytesSent)
                try deliver(
                    "\(result.reference)  \(result.chunks) chunks, \(result.skipped) were there, \(sent) sent\n")
            }
        } catch {
            throw ResultNotTold(output: result.reference, cause: error)
        }
    }

    private func tell(_ result: PullResult) throws(FileError) {
        switch mode {
        case .json: try deliver(text(.result(result)))
        case .none: break
        default:
            say(lineStart, to: 2)
            try deliver("\(result.output)  \(byteCountText(result.size))  sha256:\(result.sha256)\n")
        }
    }

    private var lineStart: String { isTerminal ? "\r\u{1B}[K" : "" }

    private func line(_ event: HelperEvent) {
        say(text(event), to: 1)
    }

    private func text(_ event: HelperEvent) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // The events are ours and always encodable.
        guard let data = try? encoder.encode(event) else { return "" }
        return String(decoding: data, as: UTF8.self) + "\n"
    }
}

/// The pull succeeded, but its result could not be written to standard output.
struct ResultNotTold: Error {
    let output: String
    let cause: FileError
}
