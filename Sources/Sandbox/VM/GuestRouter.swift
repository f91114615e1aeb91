import GuestProtocol

/// Which client's command has which number in the guest: several clients share the one connection.
///
/// A value without I/O. Every client numbers its commands as it likes; the guest sees numbers given here.
struct GuestRouter: Sendable {
    /// Numbers below are the shim's own.
    static let firstNumber: UInt32 = 16
    static let mostCommands = 512

    struct Route: Hashable, Sendable {
        var client: Int
        var id: UInt32
    }

    /// Where a message goes.
    enum Delivery: Hashable, Sendable {
        case guest(Frame)
        case client(Int, Frame)
    }

    private let nonce: UInt64
    private var next = Self.firstNumber
    /// By the guest's number; `nil` once the client is gone, until the guest's last answer.
    private var routes: [UInt32: Route?] = [:]
    private var numbers: [Route: UInt32] = [:]

    init(nonce: UInt64) {
        self.nonce = nonce
    }

    var count: Int { routes.count }

    mutating func fromClient(_ client: Int, _ frame: Frame) -> [Delivery] {
        let message: HostMessage
        do throws(ProtocolError) {
            message = try HostMessage(frame)
        } catch {
            return [refusal(client, frame.id, GuestFailure(.badMessage, error.message))]
        }
        let route = Route(client: client, id: frame.id)
        switch message {
        case .hello, .configure:
            return [refusal(client, frame.id, GuestFailure(.badMessage, "only the shim begins sessions"))]
        case .run, .writeFile, .readFile, .sync, .powerOff, .ping, .status:
            guard numbers[route] == nil else {
                return [refusal(client, frame.id, GuestFailure(.badMessage, "number \(frame.id) is taken"))]
            }
            guard routes.count < Self.mostCommands else {
                let why = "\(routes.count) commands run at once; try again"
                return [refusal(client, frame.id, GuestFailure(.busy, why))]
            }
            let number = newNumber()
            routes[number] = route
            numbers[route] = number
            return [.guest(forwarded(frame, to: number))]
        case .input, .inputEnd, .credit, .resize, .signal, .cancel:
            // Of a command that is over: the client will hear of it.
            guard let number = numbers[route] else { return [] }
            return [.guest(forwarded(frame, to: number))]
        }
    }

    /// - Returns: nothing for the shim's own numbers and for what nobody waits for.
    mutating func fromGuest(_ frame: Frame, _ message: GuestMessage) -> [Delivery] {
        guard let found = routes[frame.id] else { return [] }
        if message.isLast {
            routes[frame.id] = nil
            if let route = found { numbers[route] = nil }
        }
        guard let route = found else {
            // What a gone client would have read must not hold the command's end back.
            if case .output(let channel, let bytes) = message {
                let credit = HostMessage.credit(channel, UInt32(clamping: bytes.count))
                return [.guest(credit.frame(nonce: nonce, id: frame.id))]
            }
            return []
        }
        return [.client(route.client, Frame(kind: frame.kind, nonce: 0, id: route.id, payload: frame.payload))]
    }

    /// A client went: its commands are cancelled, and their last answers awaited.
    mutating func left(_ client: Int) -> [Delivery] {
        var deliveries: [Delivery] = []
        for (route, number) in numbers.sorted(by: { $0.value < $1.value }) where route.client == client {
            numbers[route] = nil
            routes.updateValue(nil, forKey: number)
            deliveries.append(.guest(HostMessage.cancel.frame(nonce: nonce, id: number)))
        }
        return deliveries
    }

    private mutating func newNumber() -> UInt32 {
        // Fewer than 2³² are taken, so this ends.
        while routes[next] != nil || next < Self.firstNumber { next &+= 1 }
        defer { next &+= 1 }
        return next
    }

    private func forwarded(_ frame: Frame, to number: UInt32) -> Frame {
        Frame(kind: frame.kind, nonce: nonce, id: number, payload: frame.payload)
    }

    private func refusal(_ client: Int, _ id: UInt32, _ failure: GuestFailure) -> Delivery {
        .client(client, GuestMessage.failed(failure).frame(nonce: 0, id: id))
    }
}

extension GuestMessage {
    /// Whether its number is free afterwards.
    var isLast: Bool {
        switch self {
        case .done, .failed, .exited, .pong, .status: true
        case .hello, .started, .output, .inputCredit, .inputClosed: false
        }
    }
}
