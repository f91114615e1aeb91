import Testing

@testable import Workflow

@Suite("Looks of a worker that find nothing")
struct VainLookTests {
    @Test("a few follow each other at once; of a thousand told at once, one in each interval; a rest pays for new ones")
    func rate() {
        var looks = VainLooks()
        let began = ContinuousClock.now
        var now = began
        for number in 0..<VainLooks.burst { #expect(looks.next(after: now) == nil, "look \(number)") }
        var waits = 0
        for _ in 0..<1000 {
            guard let next = looks.next(after: now) else { continue }
            #expect(next > now)
            now = next
            waits += 1
        }
        #expect(waits == 1000)
        #expect(began.duration(to: now) == VainLooks.interval * 1000)
        now += VainLooks.interval * VainLooks.burst
        for number in 0..<VainLooks.burst { #expect(looks.next(after: now) == nil, "look \(number) after a rest") }
        #expect(looks.next(after: now) != nil)
        looks.forgive()
        for number in 0..<VainLooks.burst { #expect(looks.next(after: now) == nil, "look \(number) behind a find") }
        #expect(looks.next(after: now) != nil)
    }
}
