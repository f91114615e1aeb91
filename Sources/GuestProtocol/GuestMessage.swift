/// What the guest says. Each message but the hello answers the command or request whose id its frame has.
package enum GuestMessage: Hashable, Sendable {
    /// Answers the host's hello, in whatever version that one speaks.
    case hello(GuestHello)
    case done
    case failed(GuestFailure)
    /// The program was executed.
    case started(pid: Int32)
    /// A piece of a channel, never empty, for which there was credit.
    case output(GuestChannel, [UInt8])
    /// More input may be sent.
    case inputCredit(UInt32)
    /// Nobody reads the input any more: no more of it need be sent.
    case inputClosed
    /// The command is over and all that it said was sent. Comes last.
    case exited(CommandEnd)
    case pong
    case status(GuestStatus)

    private enum Kind: UInt16 {
        case hello = 0x81
        case done, failed, started, output, inputCredit, inputClosed, exited, pong, status
    }

    package init(_ frame: Frame) throws(ProtocolError) {
        guard let kind = Kind(rawValue: frame.kind) else {
            throw ProtocolError(.unknownKind, "a message from the guest is of the unknown kind \(frame.kind)")
        }
        var payload = PayloadReader(frame.payload[...])
        switch kind {
        case .hello:
            self = .hello(try GuestHello(&payload))
            return
        case .done: self = .done
        case .failed: self = .failed(try GuestFailure(&payload))
        case .started: self = .started(pid: Int32(bitPattern: try payload.number()))
        case .output: self = .output(try GuestChannel(&payload), payload.bytes())
        case .inputCredit: self = .inputCredit(try payload.number())
        case .inputClosed: self = .inputClosed
        case .exited:
            let isSignal = try payload.flag()
            let number = Int32(try payload.number(UInt8.self))
            self = .exited(isSignal ? .signal(number) : .code(number))
        case .pong: self = .pong
        case .status: self = .status(try GuestStatus(&payload))
        }
        try payload.end()
    }

    package func frame(nonce: UInt64, id: UInt32) -> Frame {
        var payload = PayloadWriter()
        let kind: Kind
        switch self {
        case .hello(let hello):
            kind = .hello
            hello.write(to: &payload)
        case .done: kind = .done
        case .failed(let failure):
            kind = .failed
            failure.write(to: &payload)
        case .started(let pid):
            kind = .started
            payload.number(UInt32(bitPattern: pid))
        case .output(let channel, let bytes):
            kind = .output
            payload.number(channel.rawValue)
            payload.raw(bytes)
        case .inputCredit(let count):
            kind = .inputCredit
            payload.number(count)
        case .inputClosed: kind = .inputClosed
        case .exited(let end):
            kind = .exited
            switch end {
            case .code(let number):
                payload.flag(false)
                payload.number(UInt8(clamping: number))
            case .signal(let number):
                payload.flag(true)
                payload.number(UInt8(clamping: number))
            }
        case .pong: kind = .pong
        case .status(let status):
            kind = .status
            status.write(to: &payload)
        }
        return Frame(kind: kind.rawValue, nonce: nonce, id: id, payload: payload.bytes)
    }
}

/// Who answers. The version comes first and says how the rest is to be read.
package struct GuestHello: Hashable, Sendable {
    /// The version of the protocol that this source speaks. Host and guest of different versions say so and do no more.
    package static let version: UInt32 = 1

    package var version: UInt32
    /// From the start of the kernel to the first look at the port, in milliseconds; 0 from another version.
    package var bootMilliseconds: UInt32
    package var kernelRelease: String
    /// Whether a session before this one configured the guest.
    package var isConfigured: Bool
    /// What went wrong before anybody could be told, such as a module that would not load; one line each.
    package var warnings: [String]

    package init(
        version: UInt32 = Self.version, bootMilliseconds: UInt32, kernelRelease: String, isConfigured: Bool,
        warnings: [String]
    ) {
        self.version = version
        self.bootMilliseconds = bootMilliseconds
        self.kernelRelease = kernelRelease
        self.isConfigured = isConfigured
        self.warnings = warnings
    }
}

/// How a command ended.
package enum CommandEnd: Hashable, Sendable {
    case code(Int32)
    case signal(Int32)

    /// 0…255; 128 + n for signal n.
    package var exitCode: Int32 {
        switch self {
        case .code(let code): code
        case .signal(let number): 128 + number
        }
    }
}

/// Why something was not done.
package struct GuestFailure: Error, Hashable, Sendable {
    package enum Code: UInt8, Hashable, Sendable, CaseIterable {
        /// The program, or the file to be read, is not there; a shell would say 127.
        case notFound = 1
        /// The program is there and cannot be executed; a shell would say 126.
        case notExecutable
        /// The command's working directory is missing or none.
        case workingDirectory
        /// The image knows no such user or group.
        case user
        /// A larger file than allowed, or a message beyond its bound.
        case tooLarge
        /// No space left on the root file system.
        case outOfSpace
        /// The root file system could not be found, mounted or grown.
        case root
        /// Network, hostname or a mount point could not be set up.
        case setup
        case notConfigured
        case alreadyConfigured
        /// The host's hello was of another version.
        case version
        /// A message that this agent does not know, or cannot read, or that makes no sense now.
        case badMessage
        /// Too many commands and files at once, or no memory for another process now.
        case busy
        case cancelled
        /// A system call failed in a way nobody foresaw.
        case system
    }

    package var code: Code
    /// Of the system call that failed, or 0.
    package var errno: Int32
    /// What failed and why, and where it helps what to do.
    package var message: String

    package init(_ code: Code, errno: Int32 = 0, _ message: String) {
        self.code = code
        self.errno = errno
        self.message = message
    }
}

/// How the guest is.
package struct GuestStatus: Hashable, Sendable {
    /// In bytes, as the kernel counts them.
    package var memoryTotal: UInt64
    package var memoryAvailable: UInt64
    /// Of the root file system, in bytes; 0 before it is mounted.
    package var diskTotal: UInt64
    package var diskAvailable: UInt64
    package var uptimeMilliseconds: UInt64
    package var bootMilliseconds: UInt32
    /// Commands and files that are not over.
    package var running: UInt32

    package init(
        memoryTotal: UInt64, memoryAvailable: UInt64, diskTotal: UInt64, diskAvailable: UInt64,
        uptimeMilliseconds: UInt64, bootMilliseconds: UInt32, running: UInt32
    ) {
        self.memoryTotal = memoryTotal
        self.memoryAvailable = memoryAvailable
        self.diskTotal = diskTotal
        self.diskAvailable = diskAvailable
        self.uptimeMilliseconds = uptimeMilliseconds
        self.bootMilliseconds = bootMilliseconds
        self.running = running
    }
}
