import Foundation
import SandboxAPI
import SwiftProtobuf
import Testing

@testable import Sandbox

@Suite("the API's messages, translated")
struct DepotMessagesTests {
    private func request(_ change: (inout SandboxSpec) -> Void = { _ in }) throws -> CreateSandboxRequest {
        var spec = SandboxSpec(name: "snapwf-r-g1", labels: ["SNAPWF_RUN": "r"], timeToLive: .seconds(1200))
        change(&spec)
        return try DepotMessages.createRequest(spec, provider: "depot")
    }

    @Test("a creation carries name, labels as env, and the time to live, and nothing that was not asked for")
    func plainCreation() throws {
        let request = try request()
        #expect(request.name == "snapwf-r-g1")
        #expect(request.env == ["SNAPWF_RUN": "r"])
        #expect(request.timeoutMinutes == 20)
        #expect(!request.hasResources && !request.hasRuntime && !request.hasStaging)
        // Field 8 has four meanings: whatever is sent, its tag (8 << 3 | 0…5) is not there, nor that of 6.
        var fields = Set<Int>()
        var bytes = try Array(request.serializedBytes() as [UInt8])[...]
        while let tag = bytes.popFirst() {
            fields.insert(Int(tag >> 3))
            switch tag & 7 {
            case 0: while let byte = bytes.popFirst(), byte >= 0x80 {}
            case 2:
                let length = Int(bytes.removeFirst())
                bytes = bytes.dropFirst(length)
            default: Issue.record("unexpected wire type \(tag & 7)")
            }
        }
        #expect(fields == [1, 4, 7])
    }

    @Test("sizes are rounded up to the API's units")
    func sizes() throws {
        let request = try request {
            $0.vcpus = 4
            $0.memoryBytes = (1 << 30) + 1
            $0.diskBytes = 20 << 30
            $0.imageRef = "registry.example/builder@sha256:1"
        }
        #expect(request.resources.vcpus == 4)
        #expect(request.resources.memoryMb == 1025)
        #expect(request.resources.diskGb == 20)
        #expect(request.runtime.imageRef == "registry.example/builder@sha256:1")
        #expect(try self.request { $0.diskBytes = 1 }.resources.diskGb == 1)
    }

    @Test(
        "times to live are rounded up to minutes",
        arguments: [
            (Duration.milliseconds(1), Int32(1)), (.seconds(60), 1), (.milliseconds(60_001), 2), (.seconds(61), 2),
            (.seconds(1200), 20), (.seconds(86_400), 1440),
        ])
    func minutes(_ timeToLive: Duration, _ expected: Int32) throws {
        #expect(try DepotMessages.minutes(timeToLive) == expected)
    }

    @Test("what cannot be asked for is refused before anybody is asked, and never traps")
    func refusals() async {
        let changes: [(inout SandboxSpec) -> Void] = [
            { $0.timeToLive = .zero }, { $0.timeToLive = .seconds(-1) }, { $0.timeToLive = .seconds(86_401) },
            { $0.timeToLive = .seconds(Int64.max) }, { $0.vcpus = 0 }, { $0.vcpus = .max }, { $0.memoryBytes = .max },
            { $0.memoryBytes = 0 }, { $0.diskBytes = .max }, { $0.labels = ["": "x"] }, { $0.labels = ["a=b": "x"] },
            { $0.labels = ["a": "\0"] },
            { $0.inputs = [ReadOnlyInput(hostPath: "/a", guestPath: "/input/a")] },
        ]
        for change in changes {
            await expectError(.invalidArgument) { _ = try request(change) }
        }
    }

    @Test("every status is understood, unknown ones of later versions as alive")
    func statuses() {
        func state(_ status: SandboxStatus, _ change: (inout SandboxMessage) -> Void = { _ in }) -> SandboxState {
            var message = SandboxMessage()
            message.status = status
            change(&message)
            return DepotMessages.state(message)
        }
        for status in [SandboxStatus.unspecified, .created, .assigned, .starting, .UNRECOGNIZED(42)] {
            #expect(state(status) == .starting)
        }
        #expect(state(.running) == .running)
        for status in [SandboxStatus.finished, .cancelled, .failed] { #expect(!state(status).isAlive) }
        #expect(state(.failed) { $0.errorMessage = "no capacity" } == .ended(reason: "it failed: no capacity"))
    }

    @Test("times go there and back, and none of a server's can trap")
    func times() {
        for milliseconds in [0, 1, -1, -1000, 1_700_000_000_123, -62_135_596_800_000] {
            let time = UnixTime(milliseconds: Int64(milliseconds))
            let stamp = DepotMessages.timestamp(time)
            #expect((0..<1_000_000_000).contains(stamp.nanos))
            #expect(DepotMessages.time(stamp) == time)
        }
        for seconds in [Int64.min, .max, .max / 1000] {
            for nanos in [Int32.min, 0, .max] {
                var stamp = Google_Protobuf_Timestamp()
                stamp.seconds = seconds
                stamp.nanos = nanos
                _ = DepotMessages.time(stamp)
            }
        }
        for milliseconds in [Int64.min, .max] { _ = DepotMessages.timestamp(UnixTime(milliseconds: milliseconds)) }
    }

    @Test("ids that no API gives are not asked about")
    func ids() {
        for id in ["", "../../etc", "a b", "a\n", String(repeating: "a", count: 201), "ä"] {
            #expect(!DepotProvider.isValid(SandboxID(id)))
        }
        for id in ["sb-0123", "csb_A.b:9", String(repeating: "a", count: 200)] {
            #expect(DepotProvider.isValid(SandboxID(id)))
        }
    }
}

@Suite("the pages of a list")
struct ListedPagesTests {
    @Test("are put together, an entry that moved to a later page once")
    func pages() throws {
        var pages = ListedPages<String>()
        #expect(try pages.add(["d", "c"], id: \.self, next: "1") == "1")
        #expect(try pages.add(["c", "b"], id: \.self, next: "2") == "2")
        #expect(try pages.add([], id: \.self, next: "3") == "3")
        #expect(try pages.add(["a"], id: \.self, next: "") == nil)
        #expect(pages.items == ["d", "c", "b", "a"])
    }

    @Test("that cannot be complete are an error: a circle, no end, an entry without a name")
    func broken() async throws {
        var circle = ListedPages<String>()
        _ = try circle.add(["a"], id: \.self, next: "1")
        _ = try circle.add(["b"], id: \.self, next: "2")
        await expectError(.unavailable) { _ = try circle.add(["c"], id: \.self, next: "1") }
        await expectError(.unavailable) {
            var pages = ListedPages<String>()
            for number in 0... { _ = try pages.add(["\(number)"], id: \.self, next: "\(number)") }
        }
        await expectError(.unavailable) {
            var pages = ListedPages<String>()
            _ = try pages.add([""], id: \.self, next: "")
        }
    }
}

@Suite("the events of a command")
struct CommandEventsTests {
    private func event(_ kind: CommandEvent.OneOf_Event?) -> CommandEvent {
        var event = CommandEvent()
        event.event = kind
        return event
    }

    private func output(_ text: String, upTo offset: Int64) -> CommandEvent.Output {
        var chunk = CommandEvent.Output()
        chunk.data = Data(text.utf8)
        chunk.byteOffset = offset
        return chunk
    }

    private func end(_ code: Int32) -> CommandEvent.OneOf_Event {
        var end = CommandEvent.Finished()
        end.exitCode = code
        return .finished(end)
    }

    @Test("give exit code and both outputs; complaints and unknown events end nothing")
    func whole() throws {
        var events = CommandEvents(limit: 100)
        var complaint = CommandEvent.Error()
        complaint.reason = "slow disk"
        let all: [CommandEvent.OneOf_Event?] = [
            .started(CommandEvent.Started()), .stdout(output("a", upTo: 1)), .error(complaint), nil,
            .stderr(output("x", upTo: 0)), .stdout(output("bc", upTo: 3)), end(7),
        ]
        let heard = try all.compactMap { try events.take(event($0)) }
        #expect(heard == [.started, .output([97]), .errors([120]), .output([98, 99])])
        let result = try events.finished()
        #expect(result == CommandOutput(exitCode: 7, standardOutput: [97, 98, 99], standardError: [120]))
    }

    @Test("without Finished are no result, however much came")
    func cut() async throws {
        let some: [CommandEvent.OneOf_Event] = [.started(CommandEvent.Started()), .stdout(output("a", upTo: 1))]
        for kinds in [[], some] {
            var events = CommandEvents(limit: 100)
            for kind in kinds { _ = try events.take(event(kind)) }
            do {
                _ = try events.finished()
                Issue.record("a stream without Finished has a result")
            } catch {
                #expect(error.code == .unavailable && error.isInDoubt)
            }
        }
    }

    @Test("are bounded, and may miss nothing")
    func limits() async throws {
        var events = CommandEvents(limit: 3)
        _ = try events.take(event(.stdout(output("abc", upTo: 3))))
        let more = event(.stdout(output("d", upTo: 4)))
        await expectError(.outputTooLarge) { _ = try events.take(more) }
        var gap = CommandEvents(limit: 100)
        let late = event(.stdout(output("d", upTo: 4)))
        await expectError(.unavailable) { _ = try gap.take(late) }
        #expect(try gap.take(event(.evicted(CommandEvent.Evicted()))) == nil)
        let evicted = event(.evicted(CommandEvent.Evicted.with { $0.droppedBytesStderr = 1 }))
        await expectError(.unavailable) { _ = try gap.take(evicted) }
    }

    @Test("may tell a signal as a negative number")
    func signals() {
        #expect(CommandEvents.exitCode(0) == 0)
        #expect(CommandEvents.exitCode(-9) == 137)
        #expect(CommandEvents.exitCode(143) == 143)
        #expect((0...255).contains(CommandEvents.exitCode(.min)))
        #expect((0...255).contains(CommandEvents.exitCode(.max)))
    }
}
