import TestSupport
import Testing

@testable import GuestProtocol

@Suite("Messages between host and guest")
struct MessageTests {
    @Test("come back as they went, of every kind")
    func roundTrip() throws {
        let seed = TestSize.seed("messages")
        for number in 0..<2000 {
            var generator = SeededGenerator(seed: seed &+ UInt64(number))
            let asked = generator.hostMessage()
            #expect(try HostMessage(asked.frame(nonce: 1, id: 2)) == asked)
            let said = generator.guestMessage()
            #expect(try GuestMessage(said.frame(nonce: 1, id: 2)) == said)
        }
    }

    @Test("are refused when a field is cut, or one too many")
    func cut() throws {
        let frame = HostMessage.run(
            CommandRequest(["a"], environment: ["B=c"], terminal: TerminalSize(rows: 1, columns: 2))
        )
        .frame(nonce: 1, id: 2)
        for count in 0..<frame.payload.count {
            var short = frame
            short.payload.removeLast(frame.payload.count - count)
            #expect(throws: ProtocolError.self) { try HostMessage(short) }
        }
        var long = frame
        long.payload.append(0)
        #expect(throws: ProtocolError.self) { try HostMessage(long) }
    }

    @Test("of an unknown kind are told from broken ones")
    func unknown() {
        for kind in [UInt16(0), 0x10, 0x80, 0x8B, .max] {
            let frame = Frame(kind: kind, nonce: 1, id: 2, payload: [])
            let host = #expect(throws: ProtocolError.self) { try HostMessage(frame) }
            let guest = #expect(throws: ProtocolError.self) { try GuestMessage(frame) }
            #expect(host?.code == .unknownKind && guest?.code == .unknownKind)
        }
        let text = Frame(kind: 9, nonce: 1, id: 2, payload: [1, 0, 0, 0, 0xFF, 0, 0])
        let error = #expect(throws: ProtocolError.self) { try HostMessage(text) }
        #expect(error?.code == .malformed)
    }

    @Test("of another version say which, whatever follows")
    func version() throws {
        let payload: [UInt8] = [9, 0, 0, 0, 1, 2, 3]
        guard case .hello(let hello) = try GuestMessage(Frame(kind: 0x81, nonce: 1, id: 0, payload: payload)) else {
            Issue.record("no hello")
            return
        }
        #expect(hello.version == 9)
        #expect(try HostMessage(Frame(kind: 1, nonce: 1, id: 0, payload: payload)) == .hello(version: 9))
    }

    @Test("hold no C string that would end early")
    func embeddedNUL() {
        let frame = HostMessage.readFile(path: "a\0b", limit: 1).frame(nonce: 1, id: 2)
        #expect(throws: ProtocolError.self) { try HostMessage(frame) }
    }

    @Test("exit codes are a shell's")
    func exitCodes() {
        #expect(CommandEnd.code(7).exitCode == 7)
        #expect(CommandEnd.signal(9).exitCode == 137)
    }
}

@Suite("Flow control by credit")
struct WindowTests {
    @Test("never lets more than a window be on the way, and never stops")
    func random() {
        var generator = SeededGenerator(seed: TestSize.seed("windows"))
        var sender = SendWindow()
        var receiver = ReceiveWindow()
        var held = 0
        var moved = 0
        while moved < 20 << 20 {
            if generator.chance(60), sender.piece > 0 {
                let count = generator.number(1...sender.piece)
                sender.sent(count)
                let isAllowed = receiver.received(count)
                #expect(isAllowed)
                held += count
            } else if held > 0 {
                let count = generator.number(1...held)
                held -= count
                moved += count
                if let credit = receiver.passedOn(count) {
                    let isAllowed = sender.credit(credit)
                    #expect(isAllowed)
                }
            }
            #expect(held <= SendWindow.initial)
            #expect(held > 0 || sender.piece > 0)
        }
    }

    @Test("notices who does not follow it")
    func violations() {
        var sender = SendWindow()
        var answers = [sender.credit(1), sender.credit(.max)]
        #expect(answers == [false, false])
        sender.sent(5)
        answers = [sender.credit(6), sender.credit(5), sender.credit(1)]
        #expect(answers == [false, true, false])
        var receiver = ReceiveWindow()
        answers = [SendWindow.initial + 1, SendWindow.initial, 1].map { receiver.received($0) }
        #expect(answers == [false, true, false])
    }
}
