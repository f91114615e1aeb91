import FoundationEssentials
import Glibc
import HelperInterface
import Synchronization

/// Says what happens: to a program as JSON lines on standard output, to a person as lines on standard error.
///
/// Progress is told at most four times a second.
final class Reporter: Sendable {
    private let mode: ProgressMode
    private let lastProgress = Mutex<ContinuousClock.Instant?>(nil)
    private let isTerminal: Bool

    init(mode: ProgressMode) {
        self.isTerminal = isatty(2) == 1
        self.mode = mode == .auto ? .plain : mode
    }

    func progress(_ progress: PullProgress) {
        guard mode == .json || (mode == .plain && isTerminal) else { return }
        let now = ContinuousClock.now
        let due = lastProgress.withLock { last in
            if let last, now - last < .milliseconds(250), progress.phase == .layers { return false }
            last = now
            return true
        }
        guard due else { return }
        if mode == .json {
            line(.progress(progress))
        } else {
            let share = progress.total == 0 ? 100 : progress.bytes * 100 / progress.total
            write(2, "\r\u{1B}[K\(progress.phase.rawValue) \(byteCountText(progress.bytes)) (\(share) %)")
        }
    }

    func warning(_ message: String) {
        switch mode {
        case .json: line(.warning(message))
        case .none: break
        default: write(2, "\(lineStart)snapshot: warning: \(message)\n")
        }
    }

    func failure(_ failure: HelperFailure) {
        if mode == .json { line(.failure(failure)) }
        write(2, "\(mode == .plain ? lineStart : "")snapshot: \(failure.message)\n")
    }

    func result(_ result: PullResult) {
        switch mode {
        case .json: line(.result(result))
        case .none: break
        default:
            write(2, lineStart)
            write(1, "\(result.output)  \(byteCountText(result.size))  sha256:\(result.sha256)\n")
        }
    }

    private var lineStart: String { isTerminal ? "\r\u{1B}[K" : "" }

    private func line(_ event: HelperEvent) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // The events are ours and always encodable.
        guard let data = try? encoder.encode(event) else { return }
        write(1, String(decoding: data, as: UTF8.self) + "\n")
    }

    /// Output that nobody reads any more is not worth failing for: the image is.
    private func write(_ descriptor: Int32, _ text: String) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 {
                if errno == EINTR { continue }
                return
            }
            bytes = bytes.dropFirst(count)
        }
    }
}
