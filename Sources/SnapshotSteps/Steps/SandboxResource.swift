import FoundationEssentials
import HelperInterface
import Logging
import OCI
import Sandbox
import Synchronization
import Workflow

/// The sandbox of a run: found by its labels before it is created, killed when its scope ends.
struct SandboxResource: DurableResource {
    static let kind = "sandbox"

    let environment: SnapshotEnvironment
    let request: SnapshotRequest
    let resolution: Resolution
    private let fruitless = FruitlessCreations()

    init(environment: SnapshotEnvironment, request: SnapshotRequest, resolution: Resolution) {
        self.environment = environment
        self.request = request
        self.resolution = resolution
    }

    private var provider: any SandboxProvider { environment.provider }

    var limits: ResourceLimits {
        // As the steps' own: an API elsewhere may be replaced meanwhile.
        ResourceLimits(
            createRetry: request.place == nil
                ? .exponential(attempts: 4, base: .milliseconds(500), cap: .seconds(15))
                : .exponential(attempts: 25, base: .milliseconds(500), cap: .seconds(30)))
    }

    /// Called only where a creation is in doubt, so a provider whose lists lag is asked for as long as they do; but at
    /// once where this process knows that its creation made nothing.
    ///
    /// Ended ones are told of only where none lives: the engine then goes on with the next generation, whose name and
    /// labels nobody has.
    func find(_ key: ResourceKey) async throws -> [SandboxHandle] {
        try await translatingErrors {
            let labels = identity(of: key)
            let since = Int64(exactly: (key.intendedAt.timeIntervalSince1970 * 1000).rounded(.down))
                .map(UnixTime.init(milliseconds:))
            let found =
                fruitless.contains(key)
                ? try await provider.find(labels: labels, since: since)
                : try await provider.findInDoubt(labels: labels, since: since)
            let living = found.filter(\.state.isAlive)
            return (living.isEmpty ? found : living).map(SandboxHandle.init)
        }
    }

    func create(_ key: ResourceKey) async throws -> SandboxHandle {
        fruitless.insert(key)
        return try await translatingErrors {
            try await provider.check()
            var labels = identity(of: key)
            labels[SandboxLabel.key] = resolution.key
            labels[SandboxLabel.version] = "\(SnapshotWorkflow.version)"
            let use = try await builder(by: provider)
            defer { use?.end() }
            var spec = SandboxSpec(
                name: "snapwf-\(key.runID)-g\(key.generation)", labels: labels, vcpus: request.vcpus,
                memoryBytes: request.memoryBytes, diskBytes: request.diskBytes ?? estimatedDisk(by: provider),
                timeToLive: .seconds(request.timeToLive), inputs: try SandboxInputs(request).list,
                imageRef: use == nil ? request.builderImage : nil)
            if let use { spec.snapshot = try SnapshotRoot(use.snapshot, useLock: use.lockPath) }
            return SandboxHandle(try await create(spec, key))
        }
    }

    /// The snapshot that the sandbox boots from, where its provider boots such; used until the sandbox itself uses it.
    private func builder(by provider: any SandboxProvider) async throws -> SnapshotUse? {
        guard provider.capabilities.bootsSnapshots, let name = request.builderImage else { return nil }
        return try await environment.catalog.use(environment.catalog.find(name), for: "run \(request.image)")
    }

    /// From the call on the creation is in doubt, unless its error says that it made nothing.
    private func create(_ spec: SandboxSpec, _ key: ResourceKey) async throws -> SandboxInfo {
        fruitless.remove(key)
        do {
            return try await provider.create(spec)
        } catch let error as SandboxError {
            guard error.isInDoubt || error.code == .alreadyExists else {
                fruitless.insert(key)
                throw error
            }
            // Whatever it is, it is looked for, and only if there is nothing is it created again.
            throw SnapshotError(.unavailable, error.description, retryable: true)
        }
    }

    func liveness(of handle: SandboxHandle, _ key: ResourceKey) async throws -> Liveness {
        do {
            guard let info = try await provider.get(handle.id) else { return .lost }
            return info.state.isAlive ? .alive : .lost
        } catch let error as SandboxError where error.isRetryable {
            return .unknown
        }
    }

    /// Where lists lag, a look for others that one creation may have made follows: they would be found by nobody
    /// before their time to live ends them.
    func release(_ handle: SandboxHandle, _ key: ResourceKey) async throws {
        try await end(handle.id)
        guard provider.capabilities.listingLag > .zero else { return }
        for other in try await provider.find(labels: identity(of: key), since: nil) where other.state.isAlive {
            try await end(other.id)
        }
    }

    private func end(_ id: SandboxID) async throws {
        do {
            try await provider.kill(id)
        } catch let error as SandboxError where error.code == .notFound || error.code == .ended {
            return
        }
    }

    func externalID(of handle: SandboxHandle) -> String { handle.id.rawValue }

    private func identity(of key: ResourceKey) -> [String: String] {
        [
            SandboxLabel.owner: environment.owner,
            SandboxLabel.run: key.runID.description,
            SandboxLabel.generation: "\(key.generation)",
        ]
    }

    /// Six times the compressed layers, the size asked for, and 2 GiB to work in; nothing where no limit is kept.
    private func estimatedDisk(by provider: any SandboxProvider) -> UInt64? {
        guard provider.capabilities.resourceLimits else { return nil }
        let (layers, overflow) = resolution.layerBytes.multipliedReportingOverflow(by: 6)
        let (sum, carry) = (overflow ? .max : layers).addingReportingOverflow((request.size ?? 0) + (2 << 30))
        return carry ? .max : sum
    }
}

/// The keys under which this process has certainly created nothing that lives.
private final class FruitlessCreations: Sendable {
    private let keys = Mutex<Set<ResourceKey>>([])

    func contains(_ key: ResourceKey) -> Bool { keys.withLock { $0.contains(key) } }
    func insert(_ key: ResourceKey) { keys.withLock { _ = $0.insert(key) } }
    func remove(_ key: ResourceKey) { keys.withLock { _ = $0.remove(key) } }
}

/// What of this host a sandbox must see: the layout or the archive of a reference that names one, a file of certificates.
struct SandboxInputs {
    private static let image = "/input/image"
    private static let certificates = "/input/ca.pem"

    let list: [ReadOnlyInput]
    /// How a reference to what the sandbox sees begins; nil when the helper asks a registry.
    private let transport: String?

    init(_ request: SnapshotRequest) throws {
        var list: [ReadOnlyInput] = []
        switch try ImageReference(parsing: request.image).transport {
        case .layout(let directory, _, _):
            transport = "oci"
            list.append(ReadOnlyInput(hostPath: directory, guestPath: Self.image))
        case .archive(let format, let file, _, _):
            transport = format.rawValue
            list.append(ReadOnlyInput(hostPath: file, guestPath: Self.image))
        case .registry, .standardInput:
            transport = nil
        }
        if let caFile = request.caFile {
            list.append(ReadOnlyInput(hostPath: caFile, guestPath: Self.certificates))
        }
        self.list = list
    }

    /// The image as the helper is told, pinned by digest.
    func reference(for resolution: Resolution) -> String {
        transport.map { "\($0):\(Self.image)@\(resolution.manifestDigest)" } ?? resolution.image
    }

    func caFile(for request: SnapshotRequest) -> String? {
        request.caFile == nil ? nil : Self.certificates
    }
}
