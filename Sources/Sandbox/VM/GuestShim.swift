import CLinux
import Glibc
import GuestProtocol

/// The body of the hidden verb that ``VMProvider/Configuration/shimCommand`` starts.
///
/// Holds the sandbox's lock, starts QEMU, sets the guest up, serves whoever has something for it at the socket in the
/// sandbox's directory, keeps the time to live, and returns when the sandbox is over.
/// Not for people: it needs descriptor 3, the lock that the provider hands to it.
///
/// Killed with KILL, its QEMU ends too: the kernel kills it with its parent.
package func runGuestShim(directory: String) -> Int32 {
    let directory = SandboxDirectory(path: directory)
    do throws(SandboxError) {
        var duty = try ShimDuty(directory: directory)
        do throws(SandboxError) {
            try duty.write(.starting)
            let shim = try GuestShim(directory: directory)
            duty.initProcess = shim.qemu
            // Before the guest is ready: whoever kills the sandbox meanwhile has to know the process.
            try duty.write(.starting)
            let reason = try shim.serve(duty)
            try duty.write(.ended(reason: reason))
            return 0
        } catch {
            // The lock goes with this process; without the record a reader only sees that the shim died.
            try duty.write(.ended(reason: error.message))
            throw error
        }
    } catch {
        let text = "guest shim: \(error)\n"
        _ = text.withCString { write(STDERR_FILENO, $0, strlen($0)) }
        return 1
    }
}

/// The process that keeps one guest. One thread: QEMU ends with it.
private final class GuestShim {
    /// How late a changed expiry, a TERM or a removed directory may be noticed.
    private static let tick = Duration.seconds(1)
    /// How long a guest may take to put its disk in order when its shim is told to end.
    private static let powerOffPatience = Duration.seconds(10)
    /// No more is taken from clients while so much waits for the guest, nor from the guest while so much waits for one
    /// client. Credit keeps both below that.
    private static let mostWaiting = 4 << 20
    private static let mostClients = 256

    private let record: GuestRecord
    private let guest: RunningGuest
    private var console: ConsoleLog
    private let agent: FramePeer
    private let listener: Descriptor
    private let useLock: Descriptor
    private var clients: [Int: FramePeer] = [:]
    private var lastClient = 0
    private var router: GuestRouter
    private var session: GuestSession
    private var complaint: [UInt8] = []

    var qemu: ProcessIdentity { guest.identity }

    init(directory: SandboxDirectory) throws(SandboxError) {
        record = try directory.readGuest()
        useLock = try Self.use(record.useLock)
        listener = try UnixSocket.listen(SandboxDirectory.socketName, in: directory.path)
        console = try ConsoleLog(directory)
        guest = try RunningGuest.start(
            QEMUCommand(
                program: record.qemu, machine: record.machine, accelerator: record.accelerator,
                kernel: record.kernel, initramfs: record.initramfs, vcpus: record.vcpus,
                memoryBytes: record.memoryBytes,
                disk: directory.diskPath, network: record.network))
        agent = FramePeer(guest.agent)
        let nonce = UInt64.random(in: .min ... .max)
        router = GuestRouter(nonce: nonce)
        session = GuestSession(nonce: nonce, configuration: record.configuration, patience: record.patience)
    }

    private static func use(_ path: String?) throws(SandboxError) -> Descriptor {
        guard let path else { return .none }
        let lock = try Descriptor.open(path, O_RDONLY)
        guard retrying({ flock(lock.raw, LOCK_SH | LOCK_NB) }) == 0 else {
            throw SandboxError(.unavailable, "the snapshot is being removed: \(path) is locked by somebody")
        }
        return lock
    }

    /// Returns when the guest is over and gone, with the reason.
    func serve(_ duty: ShimDuty) throws(SandboxError) -> String {
        var reason: String?
        var isKnownToRun = false
        while reason == nil {
            for frame in session.due(at: SteadyClock.now()) { agent.put(frame) }
            agent.flush()
            for client in clients.values { client.flush() }
            let isOver = wait(duty.pause(atMost: Self.tick))
            take()
            if session.isRunning && !isKnownToRun {
                isKnownToRun = true
                try duty.write(.running)
            }
            if isOver || session.failure != nil || agent.isClosed {
                reason = try lastWord()
            } else if let why = duty.reasonToEnd() {
                powerOff()
                _ = try guest.end()
                reason = why
            } else if let hang = session.hang(at: SteadyClock.now()) {
                _ = try guest.end()
                reason = hang + lastLines()
            }
        }
        return reason ?? ""
    }

    // MARK: One turn

    /// Waits until there is something to do, and moves bytes in; accepts clients.
    ///
    /// - Returns: whether QEMU has ended.
    private func wait(_ longest: Duration) -> Bool {
        let hasRoom = agent.waiting < Self.mostWaiting
        let numbers = clients.keys.sorted()
        let isCrowded = clients.values.contains { $0.waiting >= Self.mostWaiting }
        var pollers = [
            pollfd(fd: guest.process.raw, events: Int16(POLLIN), revents: 0),
            pollfd(fd: guest.console.raw, events: Int16(POLLIN), revents: 0),
            pollfd(fd: guest.complaints.raw, events: Int16(POLLIN), revents: 0),
            pollfd(
                fd: session.isRunning && clients.count < Self.mostClients ? listener.raw : -1,
                events: Int16(POLLIN), revents: 0),
            agent.poller(reads: !isCrowded),
        ]
        for number in numbers {
            if let client = clients[number] { pollers.append(client.poller(reads: hasRoom)) }
        }
        let pause = min(longest, session.pause(at: SteadyClock.now()))
        let milliseconds = Int32(clamping: pause.wholeMilliseconds + 1)
        guard poll(&pollers, nfds_t(pollers.count), milliseconds) > 0 else { return false }
        if pollers[1].revents != 0 { console.append(drain(guest.console.raw, limit: 64 << 10)[...]) }
        if pollers[2].revents != 0 {
            complaint = Array((complaint + drain(guest.complaints.raw, limit: 16 << 10)).suffix(1000))
        }
        if pollers[3].revents != 0, let raw = UnixSocket.accept(listener.raw) {
            lastClient += 1
            clients[lastClient] = FramePeer(raw)
        }
        if pollers[4].revents & Int16(POLLIN | POLLHUP | POLLERR) != 0 { agent.fill() }
        for (poller, number) in zip(pollers[5...], numbers)
        where poller.revents & Int16(POLLIN | POLLHUP | POLLERR) != 0 {
            clients[number]?.fill()
        }
        return pollers[0].revents != 0
    }

    /// Brings every whole message to where it belongs.
    private func take() {
        while let frame = agent.next() {
            guard let message = session.fromGuest(frame, at: SteadyClock.now()) else { continue }
            deliver(router.fromGuest(frame, message))
        }
        for (number, client) in clients {
            while let frame = client.next() { deliver(router.fromClient(number, frame)) }
            guard client.isClosed else { continue }
            clients[number] = nil
            deliver(router.left(number))
        }
    }

    private func deliver(_ deliveries: [GuestRouter.Delivery]) {
        for delivery in deliveries {
            switch delivery {
            case .guest(let frame): agent.put(frame)
            case .client(let number, let frame): clients[number]?.put(frame)
            }
        }
    }

    // MARK: The end

    /// Lets the guest put its disk in order and end by itself, for a time.
    private func powerOff() {
        guard session.isRunning else { return }
        agent.put(session.powerOff)
        let end = SteadyClock.now() + Self.powerOffPatience
        while SteadyClock.now() < end {
            agent.flush()
            if wait(min(end - SteadyClock.now(), .milliseconds(200))) { return }
            while agent.next() != nil {}
            if agent.isClosed { return }
        }
    }

    private func lastWord() throws(SandboxError) -> String {
        // A guest that ended has said everything; one that failed to begin is still there.
        let failure = session.failure
        if failure == nil { _ = waitReadable(guest.process.raw, for: .seconds(2)) }
        console.append(drain(guest.console.raw, limit: 64 << 10)[...])
        complaint = Array((complaint + drain(guest.complaints.raw, limit: 16 << 10)).suffix(1000))
        let status = try guest.end()
        if let failure { return failure + lastLines() }
        let said = String(decoding: complaint, as: UTF8.self).trimmed.replacing("\n", with: " ")
        return GuestEpitaph.reason(console: console.tail, status: status, complaint: said)
    }

    private func lastLines() -> String {
        let lines = GuestEpitaph.lines(console.tail, most: 3)
        return lines.isEmpty ? "" : "; the last words on its console: " + lines.joined(separator: " | ")
    }
}
