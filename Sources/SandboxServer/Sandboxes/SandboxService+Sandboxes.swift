import Connect
import Sandbox
import SandboxAPI
import SwiftProtobuf

extension SandboxService {
    static let defaultMinutes: Int32 = 120
    static let maximumMinutes: Int32 = 1440

    func createSandbox(_ request: CreateSandboxRequest) async throws -> CreateSandboxResponse {
        var spec = try spec(request)
        let snapshot = try await snapshot(request.runtime)
        defer { snapshot?.release() }
        spec.snapshot = snapshot?.root
        let info = try await creations.run { [spec] in try await provider.create(spec) }
        return CreateSandboxResponse.with { $0.sandbox = message(info) }
    }

    func getSandbox(_ request: SandboxRef) async throws -> GetSandboxResponse {
        let info = try await require(request.checked(""))
        return GetSandboxResponse.with { $0.sandbox = message(info) }
    }

    /// The newest first. A page may hold less than was asked for; only a missing token says that it was the last.
    func listSandboxes(_ request: ListSandboxesRequest) async throws -> ListSandboxesResponse {
        let filter = request.filter
        let states = Set(filter.states)
        let all = try await provider.list().filter { info in
            (states.isEmpty || states.contains(SandboxStatus(info.state)))
                && (!filter.hasCreatedAfter || info.createdAt >= filter.createdAfter.unixTime)
                && (!filter.hasCreatedBefore || info.createdAt < filter.createdBefore.unixTime)
        }
        let (page, next) = try PageCursor.page(
            of: all, size: request.hasPageSize ? request.pageSize : nil, token: request.pageToken,
            at: { PageCursor(createdAt: $0.createdAt, id: $0.id.rawValue) },
            cost: { $0.labels.reduce(256) { $0 + $1.key.utf8.count + $1.value.utf8.count } })
        return ListSandboxesResponse.with {
            $0.sandboxes = page.map { message($0) }
            if let next { $0.nextPageToken = next }
        }
    }

    /// Waits until nothing of the sandbox runs, whether `blocking` or not.
    func stopSandbox(_ request: StopSandboxRequest) async throws -> StopSandboxResponse {
        let ended = try await end(request.sandbox.checked())
        return StopSandboxResponse.with { $0.sandbox = ended.ended(.finished) }
    }

    func killSandbox(_ request: KillSandboxRequest) async throws -> KillSandboxResponse {
        let ended = try await end(request.sandbox.checked())
        return KillSandboxResponse.with { $0.sandbox = ended.ended(.cancelled) }
    }

    func setSandboxTimeout(_ request: SetSandboxTimeoutRequest) async throws -> SetSandboxTimeoutResponse {
        let id = try request.sandbox.checked()
        guard request.hasTimeoutMinutes else { throw ConnectError.invalid("timeout_minutes", "is missing") }
        guard request.timeoutMinutes > 0 else { throw ConnectError.invalid("timeout_minutes", "is not positive") }
        let info = try await require(id)
        guard case .running = info.state else { throw notRunning(info) }
        try await provider.setTimeToLive(.minutes(min(request.timeoutMinutes, longestMinutes)), of: id)
        let changed = try await require(id)
        return SetSandboxTimeoutResponse.with { $0.sandbox = message(changed) }
    }

    // MARK: Shared

    func message(_ info: SandboxInfo) -> SandboxMessage {
        SandboxMessage(info, organization: organization)
    }

    func require(_ id: SandboxID) async throws -> SandboxInfo {
        guard let info = try await provider.get(id) else {
            throw ConnectError(.notFound, "there is no sandbox \(id); it may have been removed after its end")
        }
        return info
    }

    func notRunning(_ info: SandboxInfo) -> ConnectError {
        switch info.state {
        case .ended(let reason):
            ConnectError(.failedPrecondition, "sandbox \(info.id) is over: \(reason); create another")
        case .starting, .running:
            ConnectError(
                .failedPrecondition, "sandbox \(info.id) is still starting; ask GetSandbox until it is RUNNING")
        }
    }

    private var longestMinutes: Int32 {
        guard let limit = provider.capabilities.maximumTimeToLive else { return Self.maximumMinutes }
        return min(Self.maximumMinutes, max(1, Int32(clamping: limit.components.seconds / 60)))
    }

    private func end(_ id: SandboxID) async throws -> SandboxMessage {
        let info = try await require(id)
        guard info.state.isAlive else { throw notRunning(info) }
        try await provider.kill(id)
        return message(info)
    }

    private func spec(_ request: CreateSandboxRequest) throws(ConnectError) -> SandboxSpec {
        guard request.name.utf8.count <= 256 else { throw .invalid("name", "is longer than 256 bytes") }
        try RequestChecks.environment(request.env)
        let image = try image(request.runtime)
        var minutes = min(Self.defaultMinutes, longestMinutes)
        if request.hasTimeoutMinutes {
            minutes = request.timeoutMinutes
            guard (1...longestMinutes).contains(minutes) else {
                throw .invalid("timeout_minutes", "\(minutes) is not between 1 and \(longestMinutes)")
            }
        }
        let resources = request.resources
        var spec = SandboxSpec(name: request.name, labels: request.env, timeToLive: .minutes(minutes))
        spec.imageRef = image
        if resources.hasVcpus { spec.vcpus = Int(try positive(resources.vcpus, "resources.vcpus")) }
        if resources.hasMemoryMb {
            spec.memoryBytes = UInt64(try positive(resources.memoryMb, "resources.memory_mb")) << 20
        }
        if resources.hasDiskGb {
            spec.diskBytes = UInt64(try positive(resources.diskGb, "resources.disk_gb")) << 30
        }
        return spec
    }

    private func positive(_ number: Int32, _ field: String) throws(ConnectError) -> Int32 {
        guard number > 0 else { throw .invalid(field, "is not positive") }
        return number
    }

    /// The image that a sandbox should boot from, where its provider pulls images itself.
    private func image(_ runtime: Runtime) throws(ConnectError) -> String? {
        switch runtime.runtime {
        case nil, .snapshot?: return nil
        case .named(let name)?:
            throw .invalid("runtime.named", "there is no runtime \"\(name)\"; leave it out")
        case .imageRef(let reference)?:
            guard !reference.isEmpty else { throw .invalid("runtime.image_ref", "is empty") }
            return provider.capabilities.images ? reference : nil
        }
    }

    /// The snapshot that a sandbox should boot from, of its own or of an image.
    private func snapshot(_ runtime: Runtime) async throws -> BootableSnapshot? {
        switch runtime.runtime {
        case nil, .named?: return nil
        case .imageRef(let reference)?:
            guard !provider.capabilities.images else { return nil }
            return try await bootingStore("runtime.image_ref").bootable(image: reference)
        case .snapshot(let snapshot)?:
            let id = try snapshot.checked("runtime.snapshot")
            guard let found = try await bootingStore("runtime.snapshot").bootable(id) else {
                throw ConnectError(.notFound, "runtime.snapshot: there is no snapshot \(id)")
            }
            return found
        }
    }

    private func bootingStore(_ field: String) throws(ConnectError) -> any SnapshotStore {
        guard provider.capabilities.bootsSnapshots, let snapshots else {
            throw ConnectError(
                .unimplemented, "\(field): the provider \(provider.name) boots no snapshots; leave it out")
        }
        return snapshots
    }
}

extension Duration {
    static func minutes(_ count: Int32) -> Duration { .seconds(Int64(count) * 60) }
}
