import HelperInterface
import Testing

@testable import SnapshotSteps

struct EventLinesTests {
    private let text = """
        {"type":"progress","progress":{"phase":"layers","bytes":1,"total":2}}
        some library speaks
        {"type":"warning","message":"höher"}

        """

    @Test("lines are read whatever the pieces they come in, and other people's lines are passed over")
    func pieces() {
        let bytes = Array(text.utf8)
        for size in 1...bytes.count {
            var lines = EventLines()
            var events: [HelperEvent] = []
            for start in stride(from: 0, to: bytes.count, by: size) {
                events += lines.take(Array(bytes[start..<min(start + size, bytes.count)]))
            }
            #expect(events.count == 2, "in pieces of \(size)")
            #expect(events.last == .warning("höher"))
        }
    }

    @Test("a line without end does not fill memory")
    func endless() {
        var lines = EventLines()
        for _ in 0..<40 { #expect(lines.take([UInt8](repeating: 0x41, count: 1 << 20)).isEmpty) }
        #expect(lines.pendingBytes <= 13 << 20)
    }
}
