import FoundationEssentials
import HelperInterface
import Testing

@testable import Workflow
@testable import snapwf

/// The line that says how far a run is, at moments that the tests choose.
struct ProgressTextTests {
    private static let start = Date(timeIntervalSince1970: 1_800_000_000)
    private static let clock = ContinuousClock.now

    private static func event(
        _ kind: String, _ name: String, after seconds: Double, message: String? = nil
    ) throws -> EventRecord {
        let failure = message.map {
            Failure(kind: .error, type: "", message: $0, step: name, payload: nil)
        }
        let payload = try failure.map { String(decoding: try JSONEncoder().encode($0), as: UTF8.self) }
        return EventRecord(
            seq: 1, runID: RunID(time: start), at: start.addingTimeInterval(seconds), kind: kind, name: name,
            attempt: 1,
            payload: payload)
    }

    @Test("a step shows how long it takes, beside a sign that turns, and leaves a line when it is done")
    func step() throws {
        var text = ProgressText()
        #expect(text.line(now: Self.start, width: 80, isUTF8: true) == nil)
        #expect(text.take(try Self.event("step.started", "resolve", after: 0)) == nil)
        let lines = (0..<10).map {
            text.line(now: Self.start.addingTimeInterval(3 + Double($0) / 10 + 0.01), width: 80, isUTF8: true) ?? ""
        }
        #expect(lines.allSatisfy { $0.dropFirst().hasPrefix(" resolve       3.") }, "\(lines)")
        #expect(Set(lines.map(\.first)).count == 10, "it does not turn: \(lines)")
        let ascii = text.line(now: Self.start, width: 80, isUTF8: false) ?? ""
        #expect(ascii.allSatisfy(\.isASCII) && !ascii.isEmpty)
        #expect(text.take(try Self.event("step.done", "resolve", after: 4)) == "  resolve       done in 4.0 s")
        #expect(text.line(now: Self.start, width: 80, isUTF8: true) == nil)
    }

    @Test("a transfer shows a bar, bytes, speed and the time that is left")
    func transfer() throws {
        var text = ProgressText()
        _ = text.take(try Self.event("step.started", "pull", after: 0))
        for second in 0...4 {
            text.take(
                PullProgress(phase: .layers, bytes: UInt64(second) << 20, total: 8 << 20),
                at: Self.clock + .seconds(second))
        }
        let line = try #require(text.line(now: Self.start, width: 100, isUTF8: true))
        #expect(line.contains("███████████████░░░░░░░░░░░░░░░"), "\(line)")
        for part in ["50 %,", "/s", "4.0 s left"] { #expect(line.contains(part), "\(line)") }
        #expect(line.columns <= 100)
        let ascii = try #require(text.line(now: Self.start, width: 100, isUTF8: false))
        #expect(ascii.contains("###############---------------") && ascii.allSatisfy(\.isASCII))
    }

    @Test("a narrow terminal is told the figure first", arguments: 1..<ProgressText.narrow)
    func narrow(_ width: Int) throws {
        var text = ProgressText()
        _ = text.take(try Self.event("step.started", "pull", after: 0))
        let step = text.line(now: Self.start.addingTimeInterval(7), width: width, isUTF8: true)
        #expect(step == "7.0 s pull")
        text.take(PullProgress(phase: .layers, bytes: 41, total: 100), at: Self.clock)
        #expect(text.line(now: Self.start, width: width, isUTF8: true) == "41% pull")
    }

    @Test("numbers that cannot be are shown and are no trap")
    func nonsense() throws {
        var text = ProgressText()
        _ = text.take(try Self.event("step.started", "pull", after: 0))
        for (bytes, total) in [(UInt64.max, UInt64(1)), (0, .max), (5, 0), (.max, .max), (0, 0)] {
            for phase in [PullProgress.Phase.layers, .upload, .write, .download, .resolve, .checksum] {
                for second in 0...2 {
                    text.take(PullProgress(phase: phase, bytes: bytes, total: total), at: Self.clock + .seconds(second))
                }
                for width in [0, 1, 8, 40, 80, 500] {
                    for now in [Date.distantPast, Self.start, .distantFuture] {
                        #expect(text.line(now: now, width: width, isUTF8: true) != nil)
                    }
                }
            }
        }
    }

    @Test("a step that waits says why, and counts down to its next attempt")
    func waiting() throws {
        var text = ProgressText()
        _ = text.take(try Self.event("step.started", "pull", after: 0))
        let told = text.take(try Self.event("step.retrying", "pull", after: 1, message: "the registry said 503"))
        #expect(told == "  pull          attempt 1 failed, trying again: the registry said 503")
        text.wait("pull", until: Self.start.addingTimeInterval(31))
        let first = text.line(now: Self.start.addingTimeInterval(1), width: 80, isUTF8: true)
        #expect(first == "  pull          tries again in 30 s: the registry said 503")
        let later = text.line(now: Self.start.addingTimeInterval(21), width: 80, isUTF8: true)
        #expect(later?.contains("in 10 s") == true)
        let due = text.line(now: Self.start.addingTimeInterval(40), width: 80, isUTF8: true)
        #expect(due == "  pull          tries again: the registry said 503")
        _ = text.take(try Self.event("step.started", "pull", after: 41))
        #expect(text.line(now: Self.start, width: 80, isUTF8: true)?.contains("503") == false)
    }

    @Test("a speed is that of the last seconds, and starts anew when a transfer does")
    func speed() {
        var speed = TransferSpeed()
        #expect(speed.bytesPerSecond == nil)
        for second in 0...20 { speed.add(bytes: UInt64(second * second), at: Self.clock + .seconds(second)) }
        // From 15² to 20² in 5 s.
        #expect(speed.bytesPerSecond == 35)
        speed.add(bytes: 3, at: Self.clock + .seconds(21))
        #expect(speed.bytesPerSecond == nil)
    }

    @Test(
        "columns are counted as terminals do",
        arguments: [
            ("", 0), ("abc", 3), ("é", 1), ("e\u{301}", 1), ("漢字", 4), ("한국", 4), ("ｶ", 1), ("Ａ", 2), ("…", 1),
            ("█", 1),
            ("📦", 2), ("❤\u{FE0F}", 2), ("\u{200B}", 0), ("ไทย", 3),
        ])
    func columns(_ text: String, _ columns: Int) {
        #expect(text.columns == columns)
    }

    @Test("what is cut says so, at the end or the beginning, and never in the middle of a wide character")
    func cut() {
        #expect("漢字漢字".fitted(to: 6, isUTF8: true) == "漢字…")
        #expect("abcdef".fitted(to: 4, isUTF8: false) == "abc~")
        #expect("abc".fitted(to: 0, isUTF8: true) == "")
        #expect("registry/app:1.2".endFitted(to: 8, isUTF8: true) == "…app:1.2")
        #expect("漢".filled(to: 4) == "漢  ")
    }
}
