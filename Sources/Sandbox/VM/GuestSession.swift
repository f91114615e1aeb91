import GuestProtocol

/// The shim's own talk with the agent: hello, the configuration, and pings. A value without I/O or clock.
struct GuestSession: Sendable {
    private enum Number {
        static let hello: UInt32 = 0
        static let configuration: UInt32 = 2
        static let ping: UInt32 = 3
        static let powerOff: UInt32 = 4
    }

    private enum Phase: Hashable, Sendable {
        case calling
        case configuring
        case running
    }

    /// A first hello may come before anybody listens in the guest, so it is said again.
    private static let helloPause = Duration.seconds(1)
    /// How often an idle guest is asked whether it lives.
    private static let pingPause = Duration.seconds(5)
    /// How long the guest may take to become ready, in multiples of the patience with which a ping is awaited.
    private static let startFactor = 3

    private let nonce: UInt64
    private let configuration: GuestConfiguration
    private let patience: Duration
    private var phase = Phase.calling
    private var nextCall: Duration?
    private var begun: Duration?
    /// When a ping went out that is not answered.
    private var asked: Duration?
    private var heard: Duration?
    /// Why the guest cannot be used.
    private(set) var failure: String?
    private(set) var warnings: [String] = []

    init(nonce: UInt64, configuration: GuestConfiguration, patience: Duration) {
        self.nonce = nonce
        self.configuration = configuration
        self.patience = patience
    }

    var isRunning: Bool { phase == .running }

    var powerOff: Frame { HostMessage.powerOff.frame(nonce: nonce, id: Number.powerOff) }

    /// What has to be said now.
    mutating func due(at now: Duration) -> [Frame] {
        begun = begun ?? now
        switch phase {
        case .calling:
            guard now >= nextCall ?? now else { return [] }
            nextCall = now + Self.helloPause
            return [HostMessage.hello(version: GuestHello.version).frame(nonce: nonce, id: Number.hello)]
        case .configuring:
            guard nextCall == nil else { return [] }
            nextCall = now
            return [HostMessage.configure(configuration).frame(nonce: nonce, id: Number.configuration)]
        case .running:
            guard asked == nil, now >= (heard ?? now) + Self.pingPause else { return [] }
            asked = now
            return [HostMessage.ping.frame(nonce: nonce, id: Number.ping)]
        }
    }

    /// How long nothing has to be said.
    func pause(at now: Duration) -> Duration {
        switch phase {
        case .calling: max(.zero, (nextCall ?? now) - now)
        case .configuring: Self.helloPause
        case .running: asked == nil ? max(.zero, (heard ?? now) + Self.pingPause - now) : Self.helloPause
        }
    }

    /// - Returns: the message, unless it is of another session or none.
    mutating func fromGuest(_ frame: Frame, at now: Duration) -> GuestMessage? {
        guard frame.nonce == nonce else { return nil }
        let message: GuestMessage
        do throws(ProtocolError) {
            message = try GuestMessage(frame)
        } catch {
            failure = failure ?? "its agent does not follow the protocol: \(error.message)"
            return nil
        }
        // Whatever it says, it lives.
        heard = now
        if asked != nil { asked = now }
        switch (frame.id, message) {
        case (Number.hello, .hello(let hello)):
            guard hello.version == GuestHello.version else {
                failure =
                    "its agent speaks version \(hello.version) of the protocol and this snapwf version "
                    + "\(GuestHello.version): take the snapwf-agent that belongs to this snapwf"
                return nil
            }
            warnings = hello.warnings
            if phase == .calling {
                phase = .configuring
                nextCall = nil
            }
        case (Number.configuration, .done): phase = .running
        case (Number.configuration, .failed(let why)):
            let more = warnings.isEmpty ? "" : " (\(warnings.joined(separator: "; ")))"
            failure = "the guest could not be set up: \(why.message)\(more)"
        case (Number.hello, .failed(let why)): failure = "its agent refuses to talk: \(why.message)"
        case (Number.ping, .pong): asked = nil
        default: break
        }
        return message
    }

    /// Why the guest counts as hanging, if it does.
    func hang(at now: Duration) -> String? {
        if phase != .running {
            guard let begun, now - begun > patience * Self.startFactor else { return nil }
            return "it was not ready within \(patience * Self.startFactor)"
        }
        guard let asked, now - asked > patience else { return nil }
        return "it hangs: no answer within \(patience)"
    }
}

extension GuestRecord {
    var configuration: GuestConfiguration {
        GuestConfiguration(
            hostname: hostname, network: network == .user ? .qemuUser : nil, environment: environment, user: user,
            workingDirectory: workingDirectory)
    }
}
