import Files

extension LocalProvider {
    /// How long a sandbox may take to start; usually it is some 50 ms.
    private static let startPatience = Duration.seconds(20)

    package func create(_ spec: SandboxSpec) async throws -> SandboxInfo {
        try await onOwnThread { try createBlocking(spec) }
    }

    private func createBlocking(_ spec: SandboxSpec) throws(SandboxError) -> SandboxInfo {
        try validate(spec)
        let bubblewrap = try Bubblewrap.locate(configuration.bubblewrap)
        try sandboxes.makeRoot()
        let record = SpecRecord(
            id: HostSandboxes.newID(), name: spec.name, labels: spec.labels, createdAt: .now(), inputs: spec.inputs,
            notes: notes(spec)
        )
        return try sandboxes.create(
            record, timeToLive: spec.timeToLive, environment: ["SNAPWF_BWRAP=" + bubblewrap],
            patience: Self.startPatience
        ) { directory throws(SandboxError) in try directory.fillForNamespaces() }
    }

    private func validate(_ spec: SandboxSpec) throws(SandboxError) {
        guard spec.timeToLive > .zero else {
            throw SandboxError(.invalidArgument, "a time to live of \(spec.timeToLive) is not positive")
        }
        try refuseSnapshots(spec)
        if let image = spec.imageRef {
            throw SandboxError(
                .invalidArgument,
                "a local sandbox is made of this host's programs and cannot boot from the image \(image); leave "
                    + "--builder-image out, or use another provider"
            )
        }
        try Bubblewrap.validate(spec.inputs)
    }

    private func notes(_ spec: SandboxSpec) -> [String] {
        var notes: [String] = []
        if spec.vcpus != nil { notes.append("vcpus: not enforced") }
        if spec.memoryBytes != nil { notes.append("memory: not enforced") }
        if spec.diskBytes != nil { notes.append("disk: not enforced") }
        return notes
    }
}
