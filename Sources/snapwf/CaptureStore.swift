import Sandbox
import SandboxServer
import SnapshotSteps

/// The snapshots that `snapwf serve` takes of sandboxes: captures into this machine's catalog.
struct CaptureStore: SnapshotStore {
    let captures: SandboxCaptures

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
