/// What the shim needs to start a guest, as it lies in the sandbox's directory.
struct GuestRecord: Hashable, Sendable {
    static let title = "snapwf-guest 1"

    var qemu: String
    var machine: GuestMachine
    var accelerator: Accelerator
    var kernel: String
    var initramfs: String
    var vcpus: Int
    var memoryBytes: UInt64
    var network: GuestNetwork
    /// Held shared while the guest runs, so that nobody removes the snapshot below it.
    var useLock: String?
    var hostname: String
    var environment: [String]
    var user: String
    var workingDirectory: String
    /// How long a guest may take to answer a ping.
    var patience: Duration

    var record: Record {
        var record = Record(title: Self.title)
        record.add("qemu", qemu)
        record.add("machine", machine.rawValue)
        record.add("accelerator", accelerator.rawValue)
        record.add("kernel", kernel)
        record.add("initramfs", initramfs)
        record.add("vcpus", vcpus)
        record.add("memory", memoryBytes)
        record.add("network", network.rawValue)
        if let useLock { record.add("use-lock", useLock) }
        record.add("hostname", hostname)
        record.add("user", user)
        record.add("directory", workingDirectory)
        record.add("patience", patience.wholeMilliseconds)
        for (index, value) in environment.enumerated() { record.add("environment.\(index)", value) }
        return record
    }
}

extension GuestRecord {
    /// - Returns: `nil` for what nobody here wrote.
    init?(_ bytes: [UInt8]) {
        guard let record = Record(bytes, title: Self.title), let qemu = record["qemu"],
            let machine = record["machine"].flatMap({ GuestMachine(rawValue: $0) }),
            let accelerator = record["accelerator"].flatMap({ Accelerator(rawValue: $0) }),
            let kernel = record["kernel"], let initramfs = record["initramfs"],
            let vcpus = record.number("vcpus", as: Int.self),
            let memory = record.number("memory", as: UInt64.self),
            let network = record["network"].flatMap({ GuestNetwork(rawValue: $0) }),
            let hostname = record["hostname"], let user = record["user"], let directory = record["directory"],
            let patience = record.number("patience", as: Int64.self)
        else { return nil }
        self.init(
            qemu: qemu, machine: machine, accelerator: accelerator, kernel: kernel, initramfs: initramfs,
            vcpus: vcpus, memoryBytes: memory, network: network, useLock: record["use-lock"], hostname: hostname,
            environment: [],
            user: user, workingDirectory: directory, patience: .milliseconds(patience))
        while let value = record["environment.\(environment.count)"] { environment.append(value) }
    }
}

extension SandboxDirectory {
    /// See ``GuestRecord``.
    var guestPath: String { path + "/guest" }
    /// What the guest wrote, over the snapshot.
    var diskPath: String { path + "/disk.qcow2" }
    /// The end of what the guest's kernel and agent said.
    var consolePath: String { path + "/console" }
    /// What was said before that.
    var olderConsolePath: String { path + "/console.old" }
    /// Where the shim listens to whoever has something for the guest.
    static let socketName = "agent"

    func readGuest() throws(SandboxError) -> GuestRecord {
        guard let bytes = try SmallFile.read(guestPath) else {
            throw SandboxError(.notFound, "\(guestPath) is missing")
        }
        guard let record = GuestRecord(bytes) else {
            throw SandboxError(.corrupt, "\(guestPath) is no record of a guest; kill the sandbox and make another")
        }
        return record
    }
}
