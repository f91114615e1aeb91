import Glibc
import GuestProtocol

/// Whether KVM runs a guest here. That `/dev/kvm` can be opened proves nothing: some hosts refuse what a kernel needs, or
/// let it hang. So one is booted, once for each boot of this host, QEMU and kernel.
struct AcceleratorProof: Sendable {
    /// A guest with KVM says hello within a second; a slow host gets more.
    private static let patience = Duration.seconds(10)
    private static let title = "snapwf-accelerator 1"

    struct Verdict: Hashable, Sendable {
        var accelerator: Accelerator
        /// What a person should know of it.
        var note: String?
    }

    let qemu: String
    let machine: GuestMachine
    let kernel: GuestKernel
    let initramfs: String
    let cache: String

    func verdict() throws(SandboxError) -> Verdict {
        guard linkStatus("/dev/kvm") != nil else { return Self.emulated("there is no /dev/kvm") }
        guard access("/dev/kvm", R_OK | W_OK) == 0 else {
            return Self.emulated("/dev/kvm may not be used by this user; add it to the group of /dev/kvm")
        }
        let key = stableHash(
            "\(try FileMark(qemu)) \(try FileMark(kernel.path)) \(try ProcessIdentity.currentBootID())")
        let path = "\(cache)/accelerator-\(key)"
        if let known = try Self.known(path) { return known }
        // One tries, the others wait for what it finds; too long a wait is ended by a try of one's own.
        let lock = try Descriptor.open(cache + "/accelerator.lock", O_RDWR | O_CREAT)
        let end = SteadyClock.now() + Self.patience * 2
        while flock(lock.raw, LOCK_EX | LOCK_NB) != 0, SteadyClock.now() < end { pauseThread(.milliseconds(50)) }
        if let known = try Self.known(path) { return known }
        let trouble = try boot()
        var record = Record(title: Self.title)
        record.add("kvm", trouble == nil ? "yes" : "no")
        if let trouble { record.add("reason", trouble) }
        try SmallFile.replace(path, record.bytes, durable: false)
        try keepNewest(8, of: "accelerator-", in: cache)
        return trouble.map(Self.emulated) ?? Verdict(accelerator: .kvm)
    }

    private static func known(_ path: String) throws(SandboxError) -> Verdict? {
        guard let record = try SmallFile.read(path).flatMap({ Record($0, title: title) }) else { return nil }
        return record["kvm"] == "yes" ? Verdict(accelerator: .kvm) : emulated(record["reason"] ?? "unknown")
    }

    private static func emulated(_ reason: String) -> Verdict {
        Verdict(accelerator: .tcg, note: "KVM not used: \(reason); the guest is emulated, which is many times slower")
    }

    /// - Returns: what went wrong; `nil` when the agent answered.
    private func boot() throws(SandboxError) -> String? {
        let guest = try RunningGuest.start(
            QEMUCommand(
                program: qemu, machine: machine, accelerator: .kvm, kernel: kernel.path, initramfs: initramfs, vcpus: 1,
                memoryBytes: 256 << 20, disk: nil, network: .none))
        let agent = FramePeer(guest.agent)
        let nonce = UInt64.random(in: .min ... .max)
        let end = SteadyClock.now() + Self.patience
        agent.put(HostMessage.hello(version: GuestHello.version).frame(nonce: nonce, id: 0))
        while SteadyClock.now() < end {
            agent.flush()
            var pollers = [
                agent.poller(reads: true),
                pollfd(fd: guest.process.raw, events: Int16(POLLIN), revents: 0),
                pollfd(fd: guest.console.raw, events: Int16(POLLIN), revents: 0),
            ]
            _ = poll(&pollers, nfds_t(pollers.count), 100)
            if pollers[2].revents != 0 { _ = drain(guest.console.raw, limit: 64 << 10) }
            if pollers[0].revents != 0 { agent.fill() }
            while let frame = agent.next() {
                guard frame.nonce == nonce else { continue }
                _ = try guest.end()
                return nil
            }
            if pollers[1].revents != 0 {
                let said = String(decoding: drain(guest.complaints.raw, limit: 1000), as: UTF8.self).trimmed
                let status = try guest.end()
                return "QEMU ended with \(status) when a guest was tried with it"
                    + (said.isEmpty ? "" : " (\(said.replacing("\n", with: " ")))")
            }
        }
        _ = try guest.end()
        return "a guest that was tried with it said nothing within \(Self.patience)"
    }
}
