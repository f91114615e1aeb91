import Foundation
import Testing

@testable import Workflow

@Suite("Values")
struct ValueTests {
    @Test("run ids sort by time, read back, and refuse what is none")
    func runIDs() throws {
        let early = RunID(time: Date(timeIntervalSince1970: 1), high: .max, low: .max)
        let late = RunID(time: Date(timeIntervalSince1970: 1.001), high: 0, low: 0)
        #expect(early < late && early.description < late.description)
        #expect(early.description == "00000000z8zzzzzzzzzzzzzzzz")
        #expect(late.description == "00000000z90000000000000000")
        #expect(RunID(early.description.uppercased()) == early)
        for bad in ["", "0", String(repeating: "8", count: 26), String(repeating: "u", count: 26), "../../etc/passwd"] {
            #expect(RunID(bad) == nil, "\(bad)")
        }
        let ids = Set((0..<1000).map { _ in RunID(time: Date(timeIntervalSince1970: 1)) })
        #expect(ids.count == 1000)
        #expect(try Payload.decode(RunID.self, from: Payload.encode(late)) == late)
        #expect(throws: DecodingError.self) { try Payload.decode(RunID.self, from: "\"x\"") }
    }

    @Test("SHA-256 agrees with the vectors of FIPS 180-4, also across block borders")
    func sha256() {
        #expect(
            Payload.hash("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(
            Payload.hash("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(
            Payload.hash("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")
                == "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1")
        #expect(
            Payload.hash(String(repeating: "a", count: 1_000_000))
                == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }

    @Test("equal values have equal JSON whatever the order of their keys")
    func canonicalJSON() throws {
        #expect(try Payload.encode(["b": 1, "a": 2, "c": 3]) == #"{"a":2,"b":1,"c":3}"#)
        #expect(try Payload.encode("a/b") == #""a/b""#)
        #expect(try Payload.encode(Int?.none) == "null")
        #expect(try Payload.decode(Int?.self, from: "null") == nil)
    }

    @Test("times stop at the ends of their range instead of trapping")
    func timestamps() {
        let end = Timestamp(.distantFuture).advanced(by: .seconds(Int64.max))
        #expect(end.milliseconds == .max)
        #expect(Timestamp(milliseconds: .min).advanced(by: .seconds(-1)).milliseconds == .min)
        #expect(Timestamp(Date(timeIntervalSince1970: .infinity)).milliseconds > 0)
        #expect(Timestamp(Date(timeIntervalSince1970: .nan)).milliseconds == 0)
        #expect(Timestamp(milliseconds: .min).duration(to: Timestamp(milliseconds: .max)) > .seconds(1))
        #expect(Duration.milliseconds(1500).wholeMilliseconds == 1500)
        #expect(Duration.seconds(Int64.max).wholeMilliseconds == .max)
        #expect((Duration.zero - .milliseconds(20)).wholeMilliseconds == -20)
    }

    @Test("the first reason to stop stays, and a cancelled run may release but not begin")
    func phases() {
        var phase = RunPhase.running
        #expect(phase.objection(to: .effect) == nil)
        let isCancelled = phase.cancel()
        let isCancelledAgain = phase.cancel()
        #expect(isCancelled && !isCancelledAgain)
        #expect(phase.objection(to: .effect)?.code == .cancelled)
        #expect(phase.objection(to: .release) == nil && phase.objection(to: .replay) == nil)
        let isStopped = phase.stop(.interrupted)
        let isStoppedAgain = phase.stop(.severed)
        #expect(isStopped && !isStoppedAgain)
        for act in [RunPhase.Act.effect, .release, .replay] {
            #expect(phase.objection(to: act)?.code == .interrupted)
        }
        let isCancelledLate = phase.cancel()
        #expect(!isCancelledLate)

        var late = RunPhase.running
        let id = RunID(time: Date())
        let isPast = late.cancel(.deadlinePassed(id, Timestamp(milliseconds: 5)))
        let isCancelledToo = late.cancel()
        #expect(isPast && !isCancelledToo)
        #expect(late.objection(to: .effect)?.code == .deadlinePassed && late.objection(to: .release) == nil)
    }

    @Test("a run sleeps when nothing but sleeps is under way, until the first of them ends")
    func activity() {
        var activity = Activity()
        func shown(_ write: RunWrite?) -> String {
            guard case .status(let status, let wakeAt) = write else { return "-" }
            return "\(status) \(wakeAt?.milliseconds ?? -1)"
        }
        var seen: [String] = []
        seen.append(shown(activity.beginBody()))
        seen.append(shown(activity.beginSleep("a", until: Timestamp(milliseconds: 50))))
        activity.endBody()
        seen.append(shown(activity.beginSleep("b", until: Timestamp(milliseconds: 30))))
        seen.append(shown(activity.endSleep("b")))
        seen.append(shown(activity.beginBody()))
        activity.endBody()
        seen.append(shown(activity.endSleep("a")))
        #expect(seen == ["-", "-", "sleeping 30", "sleeping 50", "running -1", "-"])
    }

    @Test("scopes with tricky names do not look like others")
    func scopePaths() {
        let nested = Scope.path(outer: Scope.path(outer: "", name: "a", generation: 1), name: "b", generation: 2)
        #expect(nested == "a#1/b#2")
        #expect(Scope.path(outer: "", name: "a#1/b", generation: 2) == "a%231%2Fb#2")
        #expect(Scope.path(outer: "", name: "a%23", generation: 1) != Scope.path(outer: "", name: "a#", generation: 1))
    }

    @Test("names must be short and printable")
    func names() {
        for good in ["a", "layer[3]", "é 🙂", "\u{a0}", String(repeating: "x", count: 200)] {
            #expect(throws: Never.self) { try Names.check(good, what: "step") }
        }
        for bad in ["", "a\nb", "a\u{7f}", "a\u{80}", "\u{9f}", String(repeating: "x", count: 201)] {
            #expect(throws: WorkflowError.self) { try Names.check(bad, what: "step") }
        }
        #expect(throws: WorkflowError.self) { try Names.checkEvent("run.mine") }
        let key = Names.idempotencyKey(run: RunID(time: Date()), kind: "step", scope: "a#1", name: "ü/…")
        #expect(key.utf8.count <= 64 && key.utf8.allSatisfy { $0 == 0x2d || (0x30...0x7a).contains($0) })
    }
}
