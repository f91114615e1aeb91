import TestSupport

@testable import GuestProtocol

/// One message of any kind, made from a seed.
extension SeededGenerator {
    mutating func text() -> String {
        String((0..<number(0...20)).map { _ in pick(["a", "/", "=", "ä", "\n", " ", "😀"]) }.joined())
    }

    mutating func texts() -> [String] { (0..<number(0...5)).map { _ in text() } }

    mutating func bytes(upTo limit: Int) -> [UInt8] {
        let magic = withUnsafeBytes(of: Frame.magic.littleEndian) { Array($0) }
        // Whatever a command says may look like a frame.
        return chance(20)
            ? magic + (0..<number(0...40)).map { _ in byte() } : (0..<number(0...limit)).map { _ in byte() }
    }

    mutating func hostMessage() -> HostMessage {
        switch number(0...14) {
        case 0: .hello(version: .random(in: .min ... .max, using: &self))
        case 1: .configure(configuration())
        case 2: .run(request())
        case 3: .input(bytes(upTo: 3000))
        case 4: .inputEnd
        case 5: .credit(pick(GuestChannel.allCases), .random(in: .min ... .max, using: &self))
        case 6: .resize(TerminalSize(rows: 24, columns: .random(in: .min ... .max, using: &self)))
        case 7: .signal(Int32(number(0...64)))
        case 8: .writeFile(path: text(), mode: .random(in: .min ... .max, using: &self))
        case 9: .readFile(path: text(), limit: next())
        case 10: .cancel
        case 11: .sync
        case 12: .powerOff
        case 13: .ping
        default: .status
        }
    }

    private mutating func configuration() -> GuestConfiguration {
        GuestConfiguration(
            disk: text(), isReadOnly: chance(50), growsRoot: chance(50), hostname: text(),
            network: chance(50) ? .qemuUser : nil, environment: texts(), user: text(), workingDirectory: text())
    }

    private mutating func request() -> CommandRequest {
        CommandRequest(
            texts(), environment: texts(), workingDirectory: chance(50) ? text() : nil,
            user: chance(50) ? text() : nil, hasInput: chance(50),
            terminal: chance(50) ? TerminalSize(rows: 3, columns: 5) : nil)
    }

    mutating func guestMessage() -> GuestMessage {
        switch number(0...9) {
        case 0:
            .hello(
                GuestHello(
                    bootMilliseconds: .random(in: .min ... .max, using: &self), kernelRelease: text(),
                    isConfigured: chance(50), warnings: texts()))
        case 1: .done
        case 2: .failed(GuestFailure(pick(GuestFailure.Code.allCases), errno: -3, text()))
        case 3: .started(pid: .random(in: .min ... .max, using: &self))
        case 4: .output(pick(GuestChannel.allCases), bytes(upTo: 3000))
        case 5: .inputCredit(.random(in: .min ... .max, using: &self))
        case 6: .inputClosed
        case 7: .exited(chance(50) ? .code(Int32(number(0...255))) : .signal(Int32(number(1...64))))
        case 8: .pong
        default:
            .status(
                GuestStatus(
                    memoryTotal: next(), memoryAvailable: next(), diskTotal: next(), diskAvailable: next(),
                    uptimeMilliseconds: next(), bootMilliseconds: 9, running: 3))
        }
    }
}
