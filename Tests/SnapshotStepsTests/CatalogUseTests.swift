import Files
import Foundation
import Glibc
import HelperInterface
import Testing

@testable import SnapshotSteps

@Suite("Snapshots in use, and their removal")
struct CatalogUseTests {
    @Test("a snapshot in use is not removed, and the refusal names the process and what it does; then it is")
    func inUse() async throws {
        let test = try TestState()
        let snapshot = try await test.registered()
        let use = try await test.catalog.use(snapshot, for: "boot vm-1")
        let other = try Catalog(state: test.state)
        let refused = await #expect(throws: SnapshotError.self) { try await other.remove(snapshot, if: .none) }
        #expect(refused?.code == .snapshotInUse)
        #expect(refused?.message.contains("process \(getpid()) (boot vm-1)") == true, "\(refused?.message ?? "")")
        #expect(try await other.holders(of: snapshot)?.map(\.purpose) == ["boot vm-1"])
        use.end()
        #expect(try await other.holders(of: snapshot) == nil)
        try await other.remove(snapshot, if: .none)
        #expect(test.names.isEmpty)
        #expect(try await test.catalog.snapshots().isEmpty)
        let gone = await #expect(throws: SnapshotError.self) { try await test.catalog.use(snapshot, for: "boot") }
        #expect(gone?.code == .snapshotNotFound)
        #expect(test.names.isEmpty, "using what is not there made it")
    }

    @Test("several use one snapshot; a child that inherits the descriptor goes on with the use until it dies")
    func inherited() async throws {
        let test = try TestState()
        let snapshot = try await test.registered()
        let use = try await test.catalog.use(snapshot, for: "boot")
        let second = try await test.catalog.use(snapshot, for: "export")
        second.end()
        let child = Process()
        child.executableURL = URL(fileURLWithPath: "/bin/sleep")
        child.arguments = ["600"]
        // What is standard input of the child is the same open file, and so the same lock.
        let copy = dup(try #require(use.descriptor))
        child.standardInput = FileHandle(fileDescriptor: copy, closeOnDealloc: true)
        try child.run()
        use.note(pid: child.processIdentifier, "vm-2")
        use.end()
        try (child.standardInput as? FileHandle)?.close()
        #expect(
            try await test.catalog.holders(of: snapshot)?.contains { $0.pid == child.processIdentifier } == true)
        let refused = await #expect(throws: SnapshotError.self) {
            try await test.catalog.remove(snapshot, if: .none)
        }
        #expect(refused?.message.contains("process \(child.processIdentifier) (vm-2)") == true)
        kill(child.processIdentifier, SIGKILL)
        child.waitUntilExit()
        try await test.catalog.remove(snapshot, if: .none)
        #expect(test.names.isEmpty)
    }

    @Test("a named snapshot is removed only by who says so, and its name is free again")
    func named() async throws {
        let test = try TestState()
        let snapshot = try await test.registered()
        try await test.catalog.tag(snapshot, as: "web:1")
        let refused = await #expect(throws: SnapshotError.self) {
            try await test.catalog.remove(snapshot, if: .init(names: []))
        }
        #expect(refused?.code == .snapshotInUse && refused?.message.contains("web:1") == true)
        try await test.catalog.remove(madeBy: "run1")
        #expect(try await test.catalog.find("web:1").id == snapshot.id)
        try await test.catalog.remove(snapshot, if: .init(names: ["web:1"]))
        let other = try await test.registered("b", key: "fedcba9876543210")
        #expect(try await test.catalog.tag(other, as: "web:1") == nil)
        #expect(try await test.catalog.find("web:1").names == ["web:1"])
    }

    @Test("a use in the meantime spares a snapshot that retention wanted to remove")
    func usedMeanwhile() async throws {
        let test = try TestState()
        let snapshot = try await test.registered()
        try await Task.sleep(for: .milliseconds(5))
        try await test.catalog.use(snapshot, for: "boot").end()
        await #expect(throws: SnapshotError.self) {
            try await test.catalog.remove(snapshot, if: .init(lastUsedAt: snapshot.lastUsedAt))
        }
        #expect(test.names == [snapshot.id])
    }

    @Test("the record of who used a snapshot stays small, whoever writes into it and however often it is used")
    func bounded() async throws {
        let test = try TestState()
        let snapshot = try await test.registered()
        let path = parentDirectory(of: snapshot.path) + "/in-use"
        for _ in 0..<300 {
            try await test.catalog.use(snapshot, for: String(repeating: "\n", count: 1000)).end()
            #expect(try #require(try readFile(path, limit: 1 << 20)).count < 5000)
        }
        try writeFile(path, Array(repeating: 0x39, count: 1 << 20), mode: 0o600)
        let held = try await test.catalog.use(snapshot, for: "boot")
        #expect(try await test.catalog.holders(of: snapshot)?.map(\.purpose) == ["boot"])
        try writeFile(path, Array("1 x y\n-5 3 z\n\n99999999999999 1 a\n".utf8), mode: 0o600)
        #expect(try await test.catalog.holders(of: snapshot) == [])
        held.end()
        #expect(try await test.catalog.holders(of: snapshot) == nil)
    }

    @Test("uses and removals of one snapshot at once: who has a use has the file", arguments: [UInt64(1), 2, 3])
    func race(seed: UInt64) async throws {
        let test = try TestState()
        var uses = 0
        for round in 0..<20 {
            let snapshot = try await test.registered("f\(round)")
            uses += try await withThrowingTaskGroup(of: Bool.self) { group in
                for number in 0..<6 {
                    group.addTask {
                        let catalog = try Catalog(state: test.state)
                        do {
                            if (UInt64(number) + seed) % 3 == 0 {
                                try await catalog.remove(snapshot, if: .none)
                                return false
                            }
                            let use = try await catalog.use(snapshot, for: "read")
                            for _ in 0..<5 {
                                guard try readFile(snapshot.path, limit: 100) == Array("image".utf8) else {
                                    Issue.record("seed \(seed), round \(round): the file of a use is gone")
                                    break
                                }
                                await Task.yield()
                            }
                            use.end()
                            return true
                        } catch let error as SnapshotError {
                            #expect([.snapshotInUse, .snapshotNotFound, .failed].contains(error.code), "\(error)")
                            return false
                        }
                    }
                }
                return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            try await test.catalog.remove(snapshot, if: .none)
            #expect(test.names.isEmpty, "seed \(seed), round \(round)")
        }
        print("seed \(seed): \(uses) uses in 20 rounds")
    }

    @Test("a removal that dies anywhere leaves a whole snapshot, or one that can be removed again, or garbage")
    func dying() async throws {
        for point in ["remove:document.after", "remove:row.after"] {
            let test = try TestState()
            let snapshot = try await test.registered()
            // The state as it is at that point, copied away: what a kill there leaves.
            let copy = test.state.path + "-copy"
            let dying = try Catalog(state: test.state) { passed in
                if passed == point { try? FileManager.default.copyItem(atPath: test.state.path, toPath: copy) }
            }
            try await dying.remove(snapshot, if: .none)
            defer { try? removeTree(copy) }
            let catalog = try Catalog(state: StateDirectory(opening: copy))
            if let left = try await catalog.snapshots().first {
                try await catalog.remove(left, if: .none)
            } else {
                let garbage = try await catalog.unregistered()
                #expect(garbage.map(\.kind) == [.other])
                for directory in garbage { try await catalog.remove(directory) }
            }
            #expect(try directoryNames(copy + "/snapshots").isEmpty, "\(point)")
        }
    }
}

extension TestState {
    /// A snapshot of the run `run1`.
    func registered(
        _ name: String = "a", key: String = "0123456789abcdef0123", bytes: String = "image", run: String = "run1"
    ) async throws -> Snapshot {
        let (file, result) = try made(name, key: key, bytes: Array(bytes.utf8))
        return try await catalog.register(result, file: file, runID: run)
    }
}
