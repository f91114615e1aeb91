import Connect
import Sandbox
import SandboxServer
import SnapshotSteps

/// The snapshots that `snapwf serve` takes of sandboxes: captures into this machine's catalog.
struct CaptureStore: SnapshotStore {
    let captures: SandboxCaptures
    let images: ImageSnapshots
    let catalog: Catalog

    func capture(_ sandbox: SandboxInfo, name: String?) async throws -> SnapshotRecord {
        SnapshotRecord(try await captures.begin(sandbox, name: name))
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

    func bootable(image reference: String) async throws -> BootableSnapshot {
        do {
            return try await bootable(try await images.snapshot(of: reference))
        } catch let error as SnapshotError {
            switch error.code {
            case .usage, .badImage, .sizeTooSmall:
                throw ConnectError(.invalidArgument, "runtime.image_ref: \(error.message)")
            case .imageNotFound: throw ConnectError(.notFound, "runtime.image_ref: \(error.message)")
            case .unavailable: throw ConnectError(.unavailable, "runtime.image_ref: \(error.message)")
            default: throw ConnectError(.internal, "runtime.image_ref: \(error.message)")
            }
        }
    }

    private func bootable(_ snapshot: Snapshot) async throws -> BootableSnapshot {
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
