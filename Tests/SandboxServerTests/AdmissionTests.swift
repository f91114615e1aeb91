import Connect
import Sandbox
import SwiftProtobuf
import Synchronization
import Testing

@testable import SandboxServer

@Suite("admission, pages and times")
struct AdmissionTests {
    @Test("lets in so many at once, the others in their order, and refuses whom the line does not hold")
    func line() async throws {
        let admission = Admission("guests", limit: 2, line: 3)
        let inside = Inside()
        let (door, opened) = AsyncStream<Void>.makeStream()
        let guests = (0..<5).map { _ in
            Task {
                try await admission.run {
                    inside.count(1)
                    for await _ in door { break }
                    inside.count(-1)
                }
            }
        }
        // Before anybody else asks: who comes late would find the line full of askers.
        try await eventually("two are inside and three in line") { inside.now == 2 && admission.waiting == 3 }
        let error = await expectError(.resourceExhausted) { try await admission.run {} }
        #expect(error?.message.contains("guests") == true)
        guests[3].cancel()
        await #expect(throws: (any Error).self) { try await guests[3].value }
        for _ in 0..<4 { opened.yield() }
        opened.finish()
        for number in [0, 1, 2, 4] { try await guests[number].value }
        #expect(inside.now == 0 && inside.most == 2)
        try await admission.run {}
    }

    @Test("refuses at once without a line")
    func noLine() async throws {
        let admission = Admission("guests", limit: 1, line: 0)
        try await admission.run {
            _ = await expectError(.resourceExhausted) { try await admission.run { 1 } }
        }
        try await admission.run {}
    }

    @Test("every element is on one page, whatever the page's size")
    func pages() throws {
        let all = (0..<23).map { PageCursor(createdAt: UnixTime(milliseconds: Int64($0 / 3)), id: "id \($0)") }
        let newestFirst = all.sorted { ($1.createdAt, $1.id) < ($0.createdAt, $0.id) }
        for size in 1...25 {
            var seen: [PageCursor] = []
            var token: String?
            repeat {
                let (page, next) = try PageCursor.page(
                    of: all.shuffled(), size: Int32(size), token: token, at: { $0 }, cost: { _ in 1 })
                #expect(page.count <= size && !page.isEmpty)
                seen += page
                token = next
            } while token != nil
            #expect(seen == newestFirst)
        }
        let costly = try PageCursor.page(of: all, size: 25, token: nil, at: { $0 }, cost: { _ in 3 << 20 })
        #expect(costly.page == [newestFirst[0]] && costly.next != nil)
        let none = try PageCursor.page(of: [PageCursor](), size: nil, token: nil, at: { $0 }, cost: { _ in 1 })
        #expect(none.page.isEmpty && none.next == nil)
        for token in ["x", "====", "aWQ=", "IA==", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OSBpZA=="] {
            #expect(throws: ConnectError.self) { try PageCursor(token: token) }
        }
    }

    @Test("times survive the way there and back, before 1970 and at the ends of the range too")
    func times() {
        for milliseconds in [0, 1, 999, 1000, -1, -999, -1000, -1001, 1_700_000_000_123] as [Int64] {
            let stamp = Google_Protobuf_Timestamp(UnixTime(milliseconds: milliseconds))
            #expect((0..<1_000_000_000).contains(stamp.nanos))
            #expect(stamp.unixTime.milliseconds == milliseconds)
        }
        #expect(Google_Protobuf_Timestamp(seconds: .max, nanos: 0).unixTime.milliseconds == .max)
        #expect(Google_Protobuf_Timestamp(seconds: .min, nanos: .min).unixTime.milliseconds == .min)
    }

    @Test("a complaint's last words tell what was wrong, and no name before them")
    func complaints() {
        let cases: [(String, FileFailure?)] = [
            ("stat: cannot statx '/x': No such file or directory\n", .missing),
            ("mkdir: cannot create directory '/x: Permission denied': File exists\n", .exists),
            ("sh: 3: cannot create /x: Directory nonexistent\n", .missing),
            ("sh: can't create /x: nonexistent directory\n", .missing),
            ("cat: write error: No space left on device\n", .noSpace),
            ("/x: Permission denied\nrm: cannot remove '/y': Read-only file system", .readOnly),
            ("Permission denied", nil), ("mv: '/a: File exists' and '/b' are the same file\n", nil), ("", nil),
        ]
        for (complaint, failure) in cases { #expect(FileFailure(complaint: complaint) == failure, "\(complaint)") }
    }
}

/// How many are inside, and how many there were at most.
private final class Inside: Sendable {
    private let state = Mutex([0, 0])
    var now: Int { state.withLock { $0[0] } }
    var most: Int { state.withLock { $0[1] } }

    func count(_ change: Int) {
        state.withLock {
            $0[0] += change
            $0[1] = max($0[0], $0[1])
        }
    }
}
