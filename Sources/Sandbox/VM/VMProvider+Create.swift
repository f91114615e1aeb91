import Files
import Glibc

extension VMProvider {
    private static let leastMemory: UInt64 = 64 << 20
    private static let mostVCPUs = 64

    package func check() async throws {
        try await onOwnThread { () throws(SandboxError) in
            try sandboxes.check()
            _ = try machine()
        }
    }

    package func create(_ spec: SandboxSpec) async throws -> SandboxInfo {
        try await onOwnThread { () throws(SandboxError) in try createBlocking(spec) }
    }

    /// What every guest here is started with.
    struct Machine: Sendable {
        var qemu: String
        var machine: GuestMachine
        var kernel: GuestKernel
        var initramfs: String
        var verdict: AcceleratorProof.Verdict
    }

    /// Finds and makes what guests need; the first time in a boot of this host a guest is tried with KVM.
    func machine() throws(SandboxError) -> Machine {
        let qemu = try QEMUCommand.locate(configuration.qemu)
        let kernel = try GuestKernel.find(configuration.kernel)
        guard access(configuration.agent, R_OK) == 0 else {
            throw SandboxError(
                .missingTool,
                "the guest's agent is missing: \(configuration.agent); put snapwf-agent beside snapwf (make build makes "
                    + "both), or name it: SNAPWF_AGENT=/path/snapwf-agent")
        }
        do {
            try makeDirectories(configuration.cache, mode: 0o700)
        } catch {
            throw .system(error.errno, error.action)
        }
        let machine = try QEMUCommand.machine(of: qemu, cache: configuration.cache)
        let initramfs = try Initramfs(agent: configuration.agent, kernel: kernel, machine: machine)
            .file(in: configuration.cache)
        let proof = AcceleratorProof(
            qemu: qemu, machine: machine, kernel: kernel, initramfs: initramfs, cache: configuration.cache)
        let verdict: AcceleratorProof.Verdict
        switch configuration.accelerator {
        case .kvm: verdict = AcceleratorProof.Verdict(accelerator: .kvm)
        case .tcg: verdict = AcceleratorProof.Verdict(accelerator: .tcg, note: "KVM not used: emulation was asked for")
        case nil: verdict = try proof.verdict()
        }
        return Machine(qemu: qemu, machine: machine, kernel: kernel, initramfs: initramfs, verdict: verdict)
    }

    private func createBlocking(_ spec: SandboxSpec) throws(SandboxError) -> SandboxInfo {
        let snapshot = try validate(spec)
        let overlay = try overlay(spec, over: snapshot)
        try sandboxes.makeRoot()
        let machine = try machine()
        let guest = GuestRecord(
            qemu: machine.qemu, machine: machine.machine, accelerator: machine.verdict.accelerator,
            kernel: machine.kernel.path, initramfs: machine.initramfs, vcpus: spec.vcpus ?? Self.defaultVCPUs,
            memoryBytes: spec.memoryBytes ?? Self.defaultMemory, network: spec.hasNetwork ? .user : .none,
            useLock: snapshot.useLock, hostname: hostname(spec.name),
            environment: Self.environment(snapshot.environment), user: snapshot.user,
            workingDirectory: snapshot.workingDirectory, patience: configuration.patience)
        let record = SpecRecord(
            id: HostSandboxes.newID(), name: spec.name, labels: spec.labels, createdAt: .now(), inputs: [],
            notes: machine.verdict.note.map { [$0] } ?? [])
        return try sandboxes.create(
            record, timeToLive: spec.timeToLive, environment: [],
            // The shim itself gives up before.
            patience: configuration.patience * 4
        ) { directory throws(SandboxError) in
            try overlay.make(at: directory.diskPath)
            try SmallFile.replace(directory.guestPath, guest.record.bytes, durable: false)
        }
    }

    /// What a program finds at least that looks for others.
    static func environment(_ image: [String]) -> [String] {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return image.contains { $0.hasPrefix("PATH=") } ? image : [path] + image
    }

    /// What a host may be called (RFC 1123), made of a sandbox's name.
    private func hostname(_ name: String) -> String {
        let allowed = name.lowercased().unicodeScalars.map { scalar in
            scalar.isASCII && scalar.properties.isAlphabetic || ("0"..."9").contains(scalar) ? Character(scalar) : "-"
        }
        let text = String(String(allowed.prefix(63)).drop { $0 == "-" }.reversed().drop { $0 == "-" }.reversed())
        return text.isEmpty ? "snapwf" : text
    }

    private func overlay(_ spec: SandboxSpec, over snapshot: SnapshotRoot) throws(SandboxError) -> OverlayDisk {
        var status = stat()
        guard stat(snapshot.path, &status) == 0 else {
            if errno == ENOENT {
                throw SandboxError(.notFound, "the snapshot's file is gone: \(snapshot.path); verify what is kept")
            }
            throw .system(errno, "look at \(snapshot.path)")
        }
        guard status.isRegularFile, let base = UInt64(exactly: status.st_size), base > 0 else {
            throw SandboxError(.invalidArgument, "\(snapshot.path) is no image of a file system")
        }
        let size = spec.diskBytes ?? max(base, min(base &+ Self.defaultRoom, OverlayDisk.largestSize))
        guard size >= base else {
            throw SandboxError(
                .invalidArgument, "a disk of \(size) bytes is smaller than the snapshot itself, which has \(base)")
        }
        return try OverlayDisk(over: snapshot.path, size: size)
    }

    private func validate(_ spec: SandboxSpec) throws(SandboxError) -> SnapshotRoot {
        guard spec.timeToLive > .zero else {
            throw SandboxError(.invalidArgument, "a time to live of \(spec.timeToLive) is not positive")
        }
        guard spec.inputs.isEmpty else {
            throw SandboxError(.invalidArgument, "a virtual machine sees no files of this host; write them into it")
        }
        if let image = spec.imageRef {
            throw SandboxError(
                .invalidArgument,
                "a virtual machine boots from a snapshot, not from the image \(image); make one: snapwf run \(image)")
        }
        guard let snapshot = spec.snapshot ?? configuration.defaultSnapshot else {
            throw SandboxError(
                .invalidArgument, "a virtual machine needs a snapshot to boot from, and none was named")
        }
        if let vcpus = spec.vcpus, !(1...Self.mostVCPUs).contains(vcpus) {
            throw SandboxError(.invalidArgument, "\(vcpus) processors cannot be given; 1 to \(Self.mostVCPUs) can")
        }
        if let memory = spec.memoryBytes, !(Self.leastMemory...(1 << 44)).contains(memory) {
            throw SandboxError(
                .invalidArgument, "\(memory) bytes of memory cannot be given; \(Self.leastMemory) is the least")
        }
        return snapshot
    }
}
