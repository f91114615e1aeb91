/// What the host says. Each message but the hello concerns the command or request whose id its frame has.
///
/// Ids are the host's choice, not 0, and free again after the last answer: `done`, `failed`, `exited`, `pong` or `status`.
package enum HostMessage: Hashable, Sendable {
    /// Begins a session: its nonce is the frame's. Everything that an earlier session began ends. A repeat with the same
    /// nonce is answered again and ends nothing.
    case hello(version: UInt32)
    /// Mounts the root and sets up everything else; answered by `done` or `failed`. Once in a guest's life.
    case configure(GuestConfiguration)
    /// Answered by `started`, output, then `exited`; or by `failed`.
    case run(CommandRequest)
    /// A piece of a command's input or of a file's contents, for which there was credit.
    case input([UInt8])
    case inputEnd
    /// More of a channel may be sent.
    case credit(GuestChannel, UInt32)
    case resize(TerminalSize)
    /// A signal to the command's process group.
    case signal(Int32)
    /// Writes a file aside, on disk, then renames it into place; parents that are missing are made. Contents follow as
    /// `input`, at last `inputEnd`; answered by `done` or `failed`.
    case writeFile(path: String, mode: UInt16)
    /// Answered by output messages, then `done`; or by `failed`, of code `tooLarge` beyond the limit.
    case readFile(path: String, limit: UInt64)
    /// Kills the command's process group, or gives up the file. The last answer still comes.
    case cancel
    /// Puts the root file system on disk; answered by `done` or `failed`.
    case sync
    /// Kills everything, puts the root on disk, and ends the machine. Answered by `done` just before.
    case powerOff
    /// Answered by `pong`.
    case ping
    /// Answered by `status`.
    case status

    private enum Kind: UInt16 {
        case hello = 0x01
        case configure, run, input, inputEnd, credit, resize, signal, writeFile, readFile, cancel, sync, powerOff, ping
        case status
    }

    package init(_ frame: Frame) throws(ProtocolError) {
        guard let kind = Kind(rawValue: frame.kind) else {
            throw ProtocolError(.unknownKind, "a message from the host is of the unknown kind \(frame.kind)")
        }
        var payload = PayloadReader(frame.payload[...])
        switch kind {
        case .hello:
            self = .hello(version: try payload.number())
            // Another version may say more.
            return
        case .configure: self = .configure(try GuestConfiguration(&payload))
        case .run: self = .run(try CommandRequest(&payload))
        case .input: self = .input(payload.bytes())
        case .inputEnd: self = .inputEnd
        case .credit: self = .credit(try GuestChannel(&payload), try payload.number())
        case .resize: self = .resize(try TerminalSize(&payload))
        case .signal: self = .signal(Int32(try payload.number(UInt8.self)))
        case .writeFile: self = .writeFile(path: try payload.text(), mode: try payload.number())
        case .readFile: self = .readFile(path: try payload.text(), limit: try payload.number())
        case .cancel: self = .cancel
        case .sync: self = .sync
        case .powerOff: self = .powerOff
        case .ping: self = .ping
        case .status: self = .status
        }
        try payload.end()
    }

    package func frame(nonce: UInt64, id: UInt32) -> Frame {
        var payload = PayloadWriter()
        let kind: Kind
        switch self {
        case .hello(let version):
            kind = .hello
            payload.number(version)
        case .configure(let configuration):
            kind = .configure
            configuration.write(to: &payload)
        case .run(let request):
            kind = .run
            request.write(to: &payload)
        case .input(let bytes):
            kind = .input
            payload.raw(bytes)
        case .inputEnd: kind = .inputEnd
        case .credit(let channel, let count):
            kind = .credit
            payload.number(channel.rawValue)
            payload.number(count)
        case .resize(let size):
            kind = .resize
            size.write(to: &payload)
        case .signal(let number):
            kind = .signal
            payload.number(UInt8(clamping: number))
        case .writeFile(let path, let mode):
            kind = .writeFile
            payload.text(path)
            payload.number(mode)
        case .readFile(let path, let limit):
            kind = .readFile
            payload.text(path)
            payload.number(limit)
        case .cancel: kind = .cancel
        case .sync: kind = .sync
        case .powerOff: kind = .powerOff
        case .ping: kind = .ping
        case .status: kind = .status
        }
        return Frame(kind: kind.rawValue, nonce: nonce, id: id, payload: payload.bytes)
    }
}

/// What a command says, or a file's contents (as output).
package enum GuestChannel: UInt8, Hashable, Sendable, CaseIterable {
    case output = 1
    case errors = 2

    init(_ payload: inout PayloadReader) throws(ProtocolError) {
        let number = try payload.number(UInt8.self)
        guard let channel = GuestChannel(rawValue: number) else {
            throw ProtocolError(.malformed, "a message names the unknown channel \(number)")
        }
        self = channel
    }
}
