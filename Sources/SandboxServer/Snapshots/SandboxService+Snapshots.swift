import Connect
import Sandbox
import SandboxAPI
import SwiftProtobuf

extension SandboxService {
    func snapshotSandbox(_ request: SnapshotSandboxRequest) async throws -> SnapshotSandboxResponse {
        let store = try requireStore()
        let id = try request.sandbox.checked()
        guard request.name.utf8.count <= 256 else { throw ConnectError.invalid("name", "is longer than 256 bytes") }
        let info = try await require(id)
        guard case .running = info.state else { throw notRunning(info) }
        let record = try await creations.run {
            try await store.capture(info, name: request.hasName ? request.name : nil)
        }
        return SnapshotSandboxResponse.with { $0.snapshot = message(record) }
    }

    func getSnapshot(_ request: SnapshotRef) async throws -> GetSnapshotResponse {
        let store = try requireStore()
        let id = try request.checked("")
        guard let record = try await store.get(id) else { throw Self.unknown(id) }
        return GetSnapshotResponse.with { $0.snapshot = message(record) }
    }

    func listSnapshots(_ request: ListSnapshotsRequest) async throws -> ListSnapshotsResponse {
        let store = try requireStore()
        var all = try await store.list()
        if request.filter.hasSourceSandbox {
            let source = try request.filter.sourceSandbox.checked("filter.source_sandbox")
            all = all.filter { $0.source == source }
        }
        let (page, next) = try PageCursor.page(
            of: all, size: request.hasPageSize ? request.pageSize : nil, token: request.pageToken,
            at: { PageCursor(createdAt: $0.createdAt, id: $0.id) }, cost: { _ in 1024 })
        return ListSnapshotsResponse.with {
            $0.snapshots = page.map { message($0) }
            if let next { $0.nextPageToken = next }
        }
    }

    func deleteSnapshot(_ request: DeleteSnapshotRequest) async throws -> DeleteSnapshotResponse {
        let store = try requireStore()
        let id = try request.snapshot.checked("snapshot")
        guard try await store.delete(id) else { throw Self.unknown(id) }
        return DeleteSnapshotResponse()
    }

    private func requireStore() throws(ConnectError) -> any SnapshotStore {
        guard let snapshots else {
            throw ConnectError(.unimplemented, "this server keeps no snapshots of sandboxes")
        }
        return snapshots
    }

    private static func unknown(_ id: String) -> ConnectError {
        ConnectError(.notFound, "there is no snapshot \(id)")
    }

    private func message(_ record: SnapshotRecord) -> SnapshotMessage {
        SnapshotMessage.with {
            $0.snapshotID = record.id
            $0.organizationID = organization
            $0.sourceSandboxID = record.source.rawValue
            $0.createdAt = Google_Protobuf_Timestamp(record.createdAt)
            if let name = record.name { $0.name = name }
            if let reference = record.imageReference { $0.imageRef = reference }
            if let size = record.sizeBytes { $0.sizeBytes = Int64(clamping: size) }
            switch record.state {
            case .capturing: $0.status = .capturing
            case .ready: $0.status = .ready
            case .failed(let reason):
                $0.status = .failed
                $0.errorMessage = reason
            }
        }
    }
}

extension SnapshotRef {
    func checked(_ field: String) throws(ConnectError) -> String {
        let name = field.isEmpty ? "id" : field + ".id"
        guard case .id(let id)? = selector, !id.isEmpty else { throw .invalid(name, "is missing") }
        guard id.utf8.count <= 256 else { throw .invalid(name, "is longer than 256 bytes") }
        return id
    }
}
