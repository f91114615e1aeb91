import Foundation
import Glibc
import GuestProtocol
import TestSupport

/// A virtual machine with the agent in it, and the host's end of the port. Blocks its caller; every wait has an end.
final class BootedGuest {
    struct Failure: Error, CustomStringConvertible {
        let description: String
    }

    /// What a command or a file left.
    struct Outcome {
        var last: GuestMessage
        var output: [UInt8] = []
        var errors: [UInt8] = []

        var text: String { String(decoding: output, as: UTF8.self) }
        var errorText: String { String(decoding: errors, as: UTF8.self) }
        var failure: GuestFailure? { if case .failed(let failure) = last { failure } else { nil } }
        var exitCode: Int32? { if case .exited(let end) = last { end.exitCode } else { nil } }
    }

    /// Whether there is everything to boot one with.
    static let isPossible = ["/usr/bin/qemu-system-x86_64", "/usr/bin/cpio", "/bin/busybox", "/usr/bin/apt-get"]
        .allSatisfy { FileManager.default.isExecutableFile(atPath: $0) }

    /// Kernel, initramfs and roots, made once a run.
    static let files: Result<TemporaryDirectory, any Error> = Result {
        let directory = try TemporaryDirectory()
        var parts = #filePath.split(separator: "/")
        parts.removeLast()
        let script = "/" + parts.joined(separator: "/") + "/Fixtures/guest-files"
        let process = Process()
        process.executableURL = URL(fileURLWithPath: script)
        process.arguments = [try agent(), directory.path]
        try process.run()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else { throw Failure(description: "guest-files failed") }
        return directory
    }

    /// Beside the tests.
    private static func agent() throws -> String {
        let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        return URL(fileURLWithPath: program).deletingLastPathComponent().appendingPathComponent("snapwf-agent").path
    }

    private let directory: TemporaryDirectory
    private let process = Process()
    private var socket: Int32 = -1
    private var decoder = FrameDecoder()
    private var nextID: UInt32 = 0
    private(set) var nonce = UInt64.random(in: .min ... .max)

    /// Starts the machine and connects; the agent is not awaited.
    ///
    /// - Parameter disk: nothing of what the guest writes stays.
    init(disk: String = "root.ext4", memory: Int = 256) throws {
        directory = try TemporaryDirectory()
        let files = try Self.files.get().path
        process.executableURL = URL(fileURLWithPath: "/usr/bin/qemu-system-x86_64")
        process.arguments = [
            // A microvm has to be told how fast its clock is, or it hangs now and then: that is the host side's to do.
            "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "\(memory)", "-nodefaults", "-no-user-config",
            "-no-reboot", "-display", "none", "-kernel", "\(files)/vmlinuz", "-initrd", "\(files)/initramfs",
            "-append", "console=ttyS0 panic=-1 quiet",
            "-drive", "id=r,file=\(files)/\(disk),format=raw,if=none,snapshot=on",
            "-device", "virtio-blk-pci,drive=r",
            "-netdev", "user,id=n,restrict=on", "-device", "virtio-net-pci,netdev=n",
            "-device", "virtio-serial-pci", "-chardev", "socket,id=a,path=\(directory.path)/port,server=on,wait=off",
            "-device", "virtserialport,chardev=a,name=\(GuestPort.name)", "-serial", "file:\(directory.path)/console",
        ]
        try process.run()
        try connect()
    }

    deinit {
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
        process.waitUntilExit()
        if socket >= 0 { close(socket) }
    }

    var console: String { (try? String(contentsOfFile: "\(directory.path)/console", encoding: .utf8)) ?? "" }

    /// Whether the machine ended by itself, within some seconds.
    func ends() -> Bool {
        for _ in 0..<2000 where process.isRunning { usleep(10_000) }
        return !process.isRunning
    }

    private func connect() throws {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let path = Array("\(directory.path)/port".utf8)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path) }
        for _ in 0..<1000 {
            let end = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
            let result = withUnsafePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    Glibc.connect(end, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
                }
            }
            if result == 0 {
                socket = end
                return
            }
            close(end)
            guard process.isRunning else { break }
            usleep(10_000)
        }
        throw Failure(description: "QEMU does not start: \(console)")
    }

    /// The host goes, in whatever it was saying, and another one comes.
    func reconnect(after half: [UInt8] = []) throws {
        try write(half)
        close(socket)
        decoder = FrameDecoder()
        nonce = .random(in: .min ... .max)
        try connect()
    }

    func write(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { throw Failure(description: "the port is gone: \(console)") }
            rest = rest.dropFirst(count)
        }
    }

    func tell(_ message: HostMessage, id: UInt32) throws {
        var bytes: [UInt8] = []
        try message.frame(nonce: nonce, id: id).encode(into: &bytes)
        try write(bytes)
    }

    /// The next frame of this session, or `nil` when the machine is gone.
    func next(seconds: Int32 = 60) throws -> Frame? {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            if let frame = decoder.next() {
                if frame.nonce == nonce { return frame }
                continue
            }
            var poller = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
            guard poll(&poller, 1, seconds * 1000) > 0 else {
                throw Failure(description: "the guest says nothing for \(seconds) s; console: \(console)")
            }
            let count = read(socket, &buffer, buffer.count)
            if count <= 0 { return nil }
            decoder.append(buffer[..<count])
        }
    }

    /// The next message about this.
    func answer(_ id: UInt32) throws -> GuestMessage {
        while let frame = try next() {
            if frame.id == id { return try GuestMessage(frame) }
        }
        throw Failure(description: "the machine ended before its answer; console: \(console)")
    }

    func hello(version: UInt32 = GuestHello.version) throws -> GuestHello {
        try write(Frame.resynchronization)
        try tell(.hello(version: version), id: 0)
        guard case .hello(let hello) = try answer(0) else { throw Failure(description: "no hello") }
        return hello
    }

    /// A new id.
    func begin(_ message: HostMessage) throws -> UInt32 {
        nextID += 1
        try tell(message, id: nextID)
        return nextID
    }

    func ask(_ message: HostMessage) throws -> GuestMessage { try answer(try begin(message)) }

    /// Follows a command or file to its end; takes all it says.
    func finish(_ id: UInt32, input: [UInt8] = []) throws -> Outcome {
        var outcome = Outcome(last: .pong)
        var window = SendWindow()
        var rest = input[...]
        var windows = [GuestChannel.output: ReceiveWindow(), .errors: ReceiveWindow()]
        while true {
            while !rest.isEmpty, window.piece > 0 {
                let piece = rest.prefix(window.piece)
                window.sent(piece.count)
                rest = rest.dropFirst(piece.count)
                try tell(.input(Array(piece)), id: id)
                if rest.isEmpty { try tell(.inputEnd, id: id) }
            }
            let message = try answer(id)
            switch message {
            case .output(let channel, let bytes):
                if channel == .output { outcome.output += bytes } else { outcome.errors += bytes }
                guard windows[channel]?.received(bytes.count) == true else {
                    throw Failure(description: "the guest sends more than it had credit for")
                }
                if let credit = windows[channel]?.passedOn(bytes.count) { try tell(.credit(channel, credit), id: id) }
            case .inputCredit(let count):
                guard window.credit(count) else { throw Failure(description: "too much credit") }
            case .inputClosed: rest = []
            case .started: break
            default:
                outcome.last = message
                return outcome
            }
        }
    }

    func run(_ request: CommandRequest, input: [UInt8] = []) throws -> Outcome {
        var request = request
        request.hasInput = !input.isEmpty
        return try finish(try begin(.run(request)), input: input)
    }

    func shell(_ script: String) throws -> Outcome { try run(CommandRequest(["/bin/sh", "-c", script])) }

    /// Ready for commands.
    static func configured(
        _ configuration: GuestConfiguration = GuestConfiguration(), disk: String = "root.ext4", memory: Int = 256
    ) throws -> BootedGuest {
        let guest = try BootedGuest(disk: disk, memory: memory)
        _ = try guest.hello()
        let answer = try guest.ask(.configure(configuration))
        guard answer == .done else { throw Failure(description: "\(answer); console: \(guest.console)") }
        return guest
    }
}
