import Connect
import Sandbox
import SandboxServer
import SnapshotSteps

/// The snapshots that `snapwf serve` takes of sandboxes: captures into this machine's catalog.
struct CaptureStore: SnapshotStore {
    let captures: SandboxCaptures
    let images: ImageSnapshots
    let catalog: Catalog
    let machines: VMProvider

    func capture(_ sandbox: SandboxInfo, name: String?) async throws -> SnapshotRecord {
        guard try await machines.get(sandbox.id) == nil else {
            throw ConnectError(
                .unimplemented, "sandbox \(sandbox.id) is a virtual machine, of which no snapshots are taken")
        }
        return SnapshotRecord(try await captures.begin(sandbox, name: name))
    }

    func get(_ id: String) async throws -> SnapshotRecord? {
        try await captures.capture(id).map(SnapshotRecord.init)
    }

    func list() async throws -> [SnapshotRecord] {
        try await captures.captures().map(SnapshotRecord.init)
    }

    func delete(_ id: String) async throws -> Bool {
        try await captures.remove(id)
    }

    func bootable(_ id: String) async throws -> BootableSnapshot? {
        try await translating("runtime.snapshot") {
            if let capture = try await captures.capture(id) {
                guard case .ready = capture.state, let key = capture.key else {
                    throw ConnectError(.failedPrecondition, "snapshot \(id) is not READY; ask GetSnapshot until it is")
                }
                guard let snapshot = try await catalog.snapshot(forKey: key) else { return nil }
                return try await bootable(snapshot)
            }
            do {
                return try await bootable(try await catalog.find(id))
            } catch let error as SnapshotError where error.code == .snapshotNotFound {
                return nil
            }
        }
    }

    func bootable(image reference: String) async throws -> BootableSnapshot {
        try await translating("runtime.image_ref") {
            try await bootable(try await images.snapshot(of: reference))
        }
    }

    /// The catalog's errors and a run's in the API's terms.
    private func translating<Value>(_ field: String, _ body: () async throws -> Value) async throws -> Value {
        do {
            return try await body()
        } catch let error as SnapshotError {
            let code: ConnectError.Code =
                switch error.code {
                case .usage, .badImage, .sizeTooSmall: .invalidArgument
                case .imageNotFound, .snapshotNotFound: .notFound
                case .credentials, .snapshotDamaged: .failedPrecondition
                case .diskFull: .resourceExhausted
                case .unavailable, .incompatible, .missingTool, .notPermitted: .unavailable
                case .notSupported: .unimplemented
                default: error.isRetryable ? .unavailable : .internal
                }
            throw ConnectError(code, "\(field): \(error.message)")
        }
    }

    private func bootable(_ snapshot: Snapshot) async throws -> BootableSnapshot {
        try snapshot.requireBootable()
        let use = try await catalog.use(snapshot, for: "boot by serve")
        return BootableSnapshot(root: try SnapshotRoot(use.snapshot, useLock: use.lockPath)) { use.end() }
    }
}

extension SnapshotRecord {
    fileprivate init(_ capture: SandboxCapture) {
        let state: State
        var size: UInt64?
        switch capture.state {
        case .capturing: state = .capturing
        case .ready(let bytes):
            state = .ready
            size = bytes
        case .failed(let reason): state = .failed(reason: reason)
        }
        self.init(
            id: capture.id, source: capture.source, state: state, name: capture.name, sizeBytes: size,
            createdAt: capture.createdAt)
    }
}
