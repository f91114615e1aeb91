import Synchronization
import Testing

@testable import Threads

struct BufferRingTests {
    @Test("bytes come out as they went in, whoever is faster", arguments: [(0, 0), (20, 0), (0, 20)])
    func order(sender: UInt64, receiver: UInt64) throws {
        let ring = try #require(BufferRing<Int>(buffers: 3, size: 64))
        let count = 2000
        let thread = try #require(
            Thread {
                for number in 0..<count {
                    guard let buffer = ring.next() else { return }
                    let size = number % 65
                    for index in 0..<size { buffer[index] = UInt8(truncatingIfNeeded: number &+ index) }
                    if sender > 0, number % 100 == 0 { spin(sender) }
                    ring.send(size, number)
                }
                ring.finish()
            })
        var expected = 0
        while let (bytes, number) = ring.receive() {
            #expect(number == expected && bytes.count == number % 65)
            if receiver > 0, number % 100 == 0 { spin(receiver) }
            let fits = bytes.enumerated().allSatisfy { $1 == UInt8(truncatingIfNeeded: number &+ $0) }
            #expect(fits)
            ring.release()
            expected += 1
        }
        thread.join()
        #expect(expected == count)
    }

    private func spin(_ rounds: UInt64) {
        for _ in 0..<rounds { _ = (0..<10_000).reduce(0, &+) }
    }

    @Test("a sender is never more buffers ahead than there are")
    func bounded() throws {
        let ring = try #require(BufferRing<Void>(buffers: 4, size: 16))
        let sent = Atomic<Int>(0)
        let thread = try #require(
            Thread {
                while ring.next() != nil {
                    sent.add(1, ordering: .sequentiallyConsistent)
                    ring.send(1, ())
                }
            })
        for released in 0..<100 {
            _ = ring.receive()
            // The sender counts before it sends: one more may be counted than there are buffers.
            let ahead = sent.load(ordering: .sequentiallyConsistent) - released
            #expect(ahead <= 5)
            ring.release()
        }
        ring.close()
        thread.join()
    }

    @Test("a ring uses as many buffers as have ever waited in it, and the last one that came back first")
    func reuse() throws {
        let ring = try #require(BufferRing<Void>(buffers: 100, size: 4096, receivers: 2))
        var used: Set<UnsafeMutableRawPointer?> = []
        for _ in 0..<50 {
            for _ in 0..<3 {
                used.insert(ring.next()?.baseAddress)
                ring.send(1, ())
            }
            for _ in 0..<3 {
                for receiver in 0..<2 {
                    _ = ring.receive(receiver)
                    ring.release(receiver)
                }
            }
        }
        #expect(used.count == 3)
        let first = try #require(ring.next())
        ring.send(1, ())
        _ = ring.receive(0)
        ring.release(0)
        // Only one of the two receivers has given it back.
        #expect(ring.next()?.baseAddress != first.baseAddress)
        _ = ring.receive(1)
        ring.release(1)
        ring.send(1, ())
        #expect(ring.next()?.baseAddress == first.baseAddress)
    }

    @Test("a lower limit holds from the next buffer on, and keeps what was sent")
    func limit() throws {
        let ring = try #require(BufferRing<Int>(buffers: 10, size: 16))
        for number in 0..<8 {
            _ = ring.next()
            ring.send(1, number)
        }
        ring.limit(to: 3)
        let sent = Atomic<Int>(8)
        let thread = try #require(
            Thread {
                while ring.next() != nil {
                    let number = sent.add(1, ordering: .sequentiallyConsistent).oldValue
                    ring.send(1, number)
                }
            })
        for released in 0..<200 {
            let (_, number) = try #require(ring.receive())
            #expect(number == released)
            let ahead = sent.load(ordering: .sequentiallyConsistent) - released
            #expect(ahead <= max(8 - released, 3) + 1)
            ring.release()
        }
        ring.close()
        thread.join()
    }

    @Test("a closed ring wakes a sender that waits for a buffer and a receiver that waits for bytes")
    func close() throws {
        let full = try #require(BufferRing<Void>(buffers: 2, size: 16))
        let sender = try #require(Thread { while full.next() != nil { full.send(1, ()) } })
        let empty = try #require(BufferRing<Void>(buffers: 2, size: 16))
        let receiver = try #require(Thread { while empty.receive() != nil { empty.release() } })
        full.close()
        empty.close()
        sender.join()
        receiver.join()
        #expect(full.next() == nil && empty.receive() == nil)
    }

    @Test("every receiver gets everything, and the slowest one holds the sender back")
    func receivers() throws {
        let ring = try #require(BufferRing<Int>(buffers: 3, size: 8, receivers: 2))
        let sums = Mutex([0, 0])
        let count = 500
        let sender = try #require(
            Thread {
                for number in 0..<count {
                    guard let buffer = ring.next() else { return }
                    buffer.storeBytes(of: number, as: Int.self)
                    ring.send(8, number)
                }
                ring.finish()
            })
        let other = try #require(
            Thread {
                while let (bytes, _) = ring.receive(1) {
                    sums.withLock { $0[1] += bytes.load(as: Int.self) }
                    ring.release(1)
                }
            })
        while let (bytes, number) = ring.receive(0) {
            // Not before both have released it may a buffer be filled again.
            if number % 50 == 0 { spin(20) }
            #expect(bytes.load(as: Int.self) == number)
            sums.withLock { $0[0] += number }
            ring.release(0)
        }
        sender.join()
        other.join()
        #expect(sums.withLock { $0 } == [count * (count - 1) / 2, count * (count - 1) / 2])
    }
}

struct ThreadTests {
    @Test("a joined thread has run to its end")
    func join() throws {
        let count = Atomic<Int>(0)
        let threads = try (0..<20).map { _ in
            try #require(Thread { count.add(1, ordering: .sequentiallyConsistent) })
        }
        for thread in threads { thread.join() }
        #expect(count.load(ordering: .sequentiallyConsistent) == 20)
        threads[0].join()
    }
}
