import Foundation
import Testing

@testable import Workflow
@testable import snapwf

/// What `snapwf show` makes of a run's events.
struct TimelineTests {
    private static let began = Date(timeIntervalSince1970: 1_800_000_000)

    private static func event(
        _ seconds: Double, _ kind: String, _ name: String? = nil, attempt: Int? = nil, error: String? = nil
    ) -> EventRecord {
        let failure = error.map { Failure(kind: .error, type: "E", message: $0, step: name, payload: nil) }
        let payload = failure.flatMap { try? String(decoding: JSONEncoder().encode($0), as: UTF8.self) }
        return EventRecord(
            seq: Int64(seconds * 1000), runID: RunID(time: began, high: 1, low: 2),
            at: began.addingTimeInterval(seconds),
            kind: kind, name: name, attempt: attempt, payload: payload)
    }

    private static let story = [
        event(0, "run.started"), event(0, "resource.intended", "sandbox"), event(1, "resource.held", "sandbox"),
        event(1, "step.started", "pull", attempt: 1), event(3, "step.retrying", "pull", attempt: 1, error: "too slow"),
        event(5, "step.started", "pull", attempt: 2), event(10, "run.resumed"),
        event(10, "step.started", "pull", attempt: 3),
        event(18, "step.done", "pull", attempt: 3), event(19, "resource.released", "sandbox"),
        event(20, "run.succeeded"),
    ]

    @Test(
        "attempts, waits, resources and the time when nobody worked are spans with a beginning, an end and an outcome")
    func spans() {
        let spans = Timeline(Self.story).spans.map { span in
            let end = span.endedAt.map { Self.began.distance(to: $0) } ?? -1
            return
                "\(span.kind) \(span.name) \(span.number) \(Self.began.distance(to: span.startedAt))-\(end) \(span.outcome)"
        }
        #expect(
            spans == [
                "resource sandbox 1 0.0-19.0 released", "attempt pull 1 1.0-3.0 retrying", "wait pull 1 3.0-5.0 ",
                "attempt pull 2 5.0-5.0 died", "interruption  0 5.0-10.0 interrupted", "attempt pull 3 10.0-18.0 done",
            ])
    }

    @Test(
        "every line fits the terminal, whatever its width; bars only where there is room; ASCII where nothing else shows"
    )
    func drawing() {
        let timeline = Timeline(Self.story)
        for width in [1, 8, 20, 40, 80, 200] {
            for line in timeline.text(from: Self.began, now: Self.began, width: width, isUTF8: true).split(
                separator: "\n")
            {
                #expect(line.count <= width)
            }
        }
        let wide = timeline.text(from: Self.began, now: Self.began, width: 120, isUTF8: false)
        #expect(
            wide.utf8.allSatisfy { $0 < 0x80 } && wide.contains("====") && wide.contains("failed: too slow"), "\(wide)")
        #expect(!timeline.text(from: Self.began, now: Self.began, width: nil, isUTF8: true).contains("█"))
    }

    @Test("what goes on has no end yet, and no events are no spans")
    func unfinished() {
        let timeline = Timeline(Array(Self.story.prefix(4)))
        #expect(timeline.spans.allSatisfy { $0.endedAt == nil })
        #expect(
            timeline.text(from: Self.began, now: Self.began.addingTimeInterval(9), width: 80, isUTF8: true).contains(
                "8.0 s…"))
        let dead = Timeline(Array(Self.story.prefix(4)), isAtWork: false)
        #expect(dead.spans.filter { $0.kind == .attempt }.allSatisfy { $0.outcome == "died" && $0.endedAt != nil })
        #expect(Timeline([]).spans.isEmpty)
    }
}
