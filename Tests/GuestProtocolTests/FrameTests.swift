import TestSupport
import Testing

@testable import GuestProtocol

@Suite("Frames on a stream of bytes")
struct FrameTests {
    private func bytes(_ frames: [Frame]) throws -> [UInt8] {
        var bytes: [UInt8] = []
        for frame in frames { try frame.encode(into: &bytes) }
        return bytes
    }

    private func frame(_ number: Int, payload: Int) -> Frame {
        Frame(
            kind: UInt16(truncatingIfNeeded: number), nonce: 0xA5A5, id: 7,
            payload: (0..<payload).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ number) })
    }

    private func decode(_ bytes: [UInt8], piece: Int) -> (frames: [Frame], skipped: Int) {
        var decoder = FrameDecoder()
        var frames: [Frame] = []
        for start in stride(from: 0, to: bytes.count, by: piece) {
            decoder.append(bytes[start..<min(start + piece, bytes.count)])
            while let frame = decoder.next() { frames.append(frame) }
        }
        return (frames, decoder.skipped)
    }

    @Test("come out as they went in, in pieces of any size", arguments: [1, 3, 32, 33, 1000, 1 << 20])
    func pieces(piece: Int) throws {
        let frames = [0, 1, 31, 5000, 0].enumerated().map { frame($0.offset, payload: $0.element) }
        let decoded = decode(try bytes(frames), piece: piece)
        #expect(decoded.frames == frames)
        #expect(decoded.skipped == 0)
    }

    @Test("have a bound")
    func bound() throws {
        let largest = frame(1, payload: Frame.maximumPayload)
        #expect(decode(try bytes([largest]), piece: 4096).frames == [largest])
        var untouched: [UInt8] = [1]
        let error = #expect(throws: ProtocolError.self) {
            try frame(1, payload: Frame.maximumPayload + 1).encode(into: &untouched)
        }
        #expect(error?.code == .tooLarge)
        #expect(untouched == [1])
    }

    @Test("are found after any part of another frame and a resynchronization")
    func resynchronization() throws {
        let lost = try bytes([frame(1, payload: 300)])
        let hello = frame(2, payload: 4)
        for count in 0..<lost.count {
            let decoded = decode(lost.prefix(count) + Frame.resynchronization + (try bytes([hello])), piece: 1 << 16)
            #expect(decoded.frames == [hello], "cut after \(count) bytes")
        }
        let largest = try bytes([frame(1, payload: Frame.maximumPayload)])
        for count in [31, 32, 33, 5000, largest.count - 1] {
            let decoded = decode(largest.prefix(count) + Frame.resynchronization + (try bytes([hello])), piece: 4096)
            #expect(decoded.frames == [hello], "cut after \(count) bytes")
        }
    }

    @Test("with any bit turned are no frames, and the next is found")
    func bits() throws {
        let whole = try bytes([frame(1, payload: 20)])
        let next = frame(2, payload: 3)
        let nextBytes = try bytes([next])
        for bit in 0..<(whole.count * 8) {
            var damaged = whole
            damaged[bit / 8] ^= 1 << UInt8(bit % 8)
            let decoded = decode(damaged + nextBytes, piece: 7)
            #expect(decoded.frames == [next], "bit \(bit)")
            #expect(decoded.skipped == whole.count)
        }
    }

    @Test("whatever the bytes, the decoder goes on, and keeps no more than a frame")
    func fuzz() async throws {
        let directory = try TemporaryDirectory()
        let run = FuzzRun(
            "frames", count: TestSize.count(1500, long: 300_000), memory: 64 << 20, log: "\(directory.path)/log")
        await #expect(processExitsWith: .success) { [run = run as FuzzRun] in run.rounds(FrameFuzz.round) }
        #expect(run.said.contains("passed"), "\(run.said)")
        print(run.said)
    }
}

enum FrameFuzz {
    /// Some messages, damaged in a few places, then read in pieces: every frame whose bytes were left alone and that no
    /// damage before it can hide comes out, and what comes out is a message or an error.
    @Sendable
    static func round(_ generator: inout SeededGenerator) throws -> String {
        var bytes: [UInt8] = []
        for _ in 0..<generator.number(1...6) {
            if generator.chance(30) { bytes += generator.bytes(upTo: 100) }
            let frame =
                generator.chance(50)
                ? generator.hostMessage().frame(nonce: generator.next(), id: 1)
                : generator.guestMessage().frame(nonce: generator.next(), id: 1)
            try frame.encode(into: &bytes)
        }
        for _ in 0..<generator.number(0...8) {
            let place = generator.number(0...(bytes.count - 1))
            switch generator.number(0...2) {
            case 0: bytes[place] = generator.byte()
            case 1: bytes.remove(at: place)
            default: bytes.insert(generator.byte(), at: place)
            }
            if bytes.isEmpty { return "empty" }
        }
        bytes += Frame.resynchronization
        let last = HostMessage.hello(version: 1).frame(nonce: 99, id: 0)
        try last.encode(into: &bytes)

        var decoder = FrameDecoder()
        var found: [Frame] = []
        var framed = 0
        var start = 0
        while start < bytes.count {
            let end = min(bytes.count, start + generator.number(1...(1 << 17)))
            decoder.append(bytes[start..<end])
            start = end
            while let frame = decoder.next() {
                found.append(frame)
                framed += Frame.headerLength + frame.payload.count
            }
        }
        guard found.last == last else { throw FuzzRun.Failure("the hello after a resynchronization was not found") }
        guard framed + decoder.skipped == bytes.count else {
            throw FuzzRun.Failure("\(framed) bytes of frames and \(decoder.skipped) skipped of \(bytes.count)")
        }
        for frame in found { read(frame, &generator) }
        return found.count == 1 ? "nothing but the hello" : "frames"
    }

    /// Checksums protect from accidents, not from a guest that means it: payloads are damaged on their own, too.
    private static func read(_ frame: Frame, _ generator: inout SeededGenerator) {
        var frame = frame
        for _ in 0..<4 {
            _ = try? HostMessage(frame)
            _ = try? GuestMessage(frame)
            if frame.payload.isEmpty { return }
            let place = generator.number(0...(frame.payload.count - 1))
            if generator.chance(50) { frame.payload[place] = generator.byte() } else { frame.payload.remove(at: place) }
        }
    }
}
