import Connect
import Sandbox
import SandboxAPI
import SandboxServer
import SwiftProtobuf
import Synchronization
import Testing

@Suite("calls for snapshots")
struct SnapshotCallTests {
    @Test("capture, tell, list by source and in pages, and delete")
    func life() async throws {
        let store = MemorySnapshots()
        try await ServedSandboxes.with(snapshots: store) { served in
            let first = try await served.create()
            let second = try await served.create()
            var made: [String] = []
            for (number, sandbox) in [first, second, first].enumerated() {
                let snapshot = try await served.call(SandboxMethods.snapshotSandbox) {
                    $0.sandbox = sandbox
                    $0.name = "s\(number)"
                }.snapshot
                #expect(snapshot.status == .capturing && snapshot.sourceSandboxID == sandbox.id)
                #expect(snapshot.name == "s\(number)" && snapshot.organizationID == "local")
                made.append(snapshot.snapshotID)
            }
            store.finish(made[0], .ready, size: 12345)
            store.finish(made[1], .failed(reason: "the disk is full"), size: nil)
            func get(_ id: String) async throws -> SnapshotMessage {
                try await served.client.unary(SandboxMethods.getSnapshot, SnapshotRef.with { $0.id = id }).snapshot
            }
            let ready = try await get(made[0])
            #expect(ready.status == .ready && ready.sizeBytes == 12345 && ready.createdAt.seconds == 1)
            let failed = try await get(made[1])
            #expect(failed.status == .failed && failed.errorMessage == "the disk is full" && !failed.hasSizeBytes)

            let all = try await served.call(SandboxMethods.listSnapshots) { $0.pageSize = 2 }
            #expect(all.snapshots.map(\.snapshotID) == [made[2], made[1]])
            let rest = try await served.call(SandboxMethods.listSnapshots) { $0.pageToken = all.nextPageToken }
            #expect(rest.snapshots.map(\.snapshotID) == [made[0]] && !rest.hasNextPageToken)
            let own = try await served.call(SandboxMethods.listSnapshots) { $0.filter.sourceSandbox = first }
            #expect(own.snapshots.map(\.snapshotID) == [made[2], made[0]])

            _ = try await served.call(SandboxMethods.deleteSnapshot) { $0.snapshot.id = made[0] }
            await expectError(.notFound) { try await get(made[0]) }
            await expectError(.notFound) {
                try await served.call(SandboxMethods.deleteSnapshot) { $0.snapshot.id = made[0] }
            }
            await expectError(.invalidArgument) { try await get("") }
            await expectError(.notFound) {
                try await served.call(SandboxMethods.snapshotSandbox) { $0.sandbox = .id("sb-0123456789abcdef0123") }
            }
            _ = try await served.call(SandboxMethods.killSandbox) { $0.sandbox = second }
            await expectError(.notFound) {
                try await served.call(SandboxMethods.snapshotSandbox) { $0.sandbox = second }
            }
        }
    }
}

/// Snapshots that are only said to be there.
private final class MemorySnapshots: SnapshotStore {
    private let records = Mutex<[SnapshotRecord]>([])

    func capture(_ sandbox: SandboxInfo, name: String?) async throws -> SnapshotRecord {
        records.withLock { records in
            let number = records.count + 1
            let record = SnapshotRecord(
                id: "snap-\(number)", source: sandbox.id, state: .capturing, name: name,
                createdAt: UnixTime(milliseconds: Int64(number) * 1000))
            records.append(record)
            return record
        }
    }

    func finish(_ id: String, _ state: SnapshotRecord.State, size: UInt64?) {
        records.withLock { records in
            for index in records.indices where records[index].id == id {
                records[index].state = state
                records[index].sizeBytes = size
            }
        }
    }

    func get(_ id: String) async throws -> SnapshotRecord? { records.withLock { $0.first { $0.id == id } } }
    func list() async throws -> [SnapshotRecord] { records.withLock { $0 } }
    func bootable(_ id: String) async throws -> BootableSnapshot? { nil }

    func bootable(image reference: String) async throws -> BootableSnapshot {
        throw ConnectError(.unimplemented, "boots nothing")
    }

    func delete(_ id: String) async throws -> Bool {
        records.withLock { records in
            let count = records.count
            records.removeAll { $0.id == id }
            return records.count < count
        }
    }
}
