import Testing

@testable import Sandbox

@Suite("records on disk")
struct RecordTests {
    @Test("keep any text")
    func anyText() throws {
        let labels = ["A": "", "b c": "x=y%\n\u{0}\u{7F}ä", "Ω": " "]
        let spec = SpecRecord(
            id: SandboxID("sb-1"), name: "a\nb", labels: labels, createdAt: UnixTime(milliseconds: -5),
            inputs: [ReadOnlyInput(hostPath: "/a b", guestPath: "/c"), ReadOnlyInput(hostPath: "/d", guestPath: "/e")],
            notes: ["memory: not enforced"]
        )
        #expect(SpecRecord(spec.record.bytes) == spec)
        let process = ProcessIdentity(pid: 7, startTime: .max, bootID: "b")
        for state in [SandboxState.starting, .running, .ended(reason: "a\nb c")] {
            let record = StateRecord(state: state, shim: process, initProcess: state == .starting ? nil : process)
            #expect(StateRecord(record.record.bytes) == record)
        }
        let expiry = Expiry(after: .seconds(5))
        #expect(Expiry(expiry.record.bytes) == expiry)
    }

    @Test("are refused when a part is missing")
    func cut() {
        let spec = SpecRecord(
            id: SandboxID("sb-1"), name: "n", labels: ["k": "v"], createdAt: UnixTime(milliseconds: 1), inputs: [],
            notes: []
        )
        let bytes = spec.record.bytes
        for count in 0..<bytes.count { #expect(SpecRecord(Array(bytes[..<count])) == nil, "\(count) bytes") }
        #expect(StateRecord(bytes) == nil)
        #expect(SpecRecord(Array("snapwf-sandbox 1\nid %zz\nend\n".utf8)) == nil)
    }

    @Test("of expiry stay in range for any time to live")
    func expiryRange() {
        for duration in [Duration.seconds(Int64.max), .seconds(Int64.min), .zero, .nanoseconds(1)] {
            let expiry = Expiry(after: duration)
            #expect(expiry.remaining <= Expiry.longest)
        }
        #expect(Duration.seconds(Int64.max).wholeMilliseconds == .max)
        #expect(Duration.seconds(Int64.min).wholeMilliseconds == .min)
        #expect(UnixTime(milliseconds: .max).advanced(by: .seconds(1)).milliseconds == .max)
        #expect(UnixTime(milliseconds: 0).advanced(by: .milliseconds(-3)).milliseconds == -3)
    }

    @Test("of a process are read whatever the program is called")
    func processStatus() {
        func line(_ name: String, _ state: String, flags: Int = 0) -> [UInt8] {
            Array("7 (\(name)) \(state) 1 7 7 0 -1 \(flags) 0 0 0 0 0 0 0 0 20 0 1 0 4242 0 0\n".utf8)
        }
        for name in ["sh", "a b", ") R 1 (", "x)) Z ((", ""] {
            #expect(ProcessStatus(stat: line(name, "S"))?.startTime == 4242, "\(name)")
            #expect(ProcessStatus(stat: line(name, "Z")) == nil)
        }
        #expect(ProcessStatus(stat: line("sh", "S"))?.isExiting == false)
        #expect(ProcessStatus(stat: line("sh", "D", flags: 0x40_0004))?.isExiting == true)
        #expect(ProcessStatus(stat: []) == nil)
        #expect(ProcessStatus(stat: Array("7 (sh) S 1".utf8)) == nil)
    }
}
