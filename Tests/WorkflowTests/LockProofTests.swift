import Foundation
import Testing
import WorkflowTesting

@testable import Workflow

/// With strace in the place of a file system that does not keep locks.
@Suite("File systems that keep no locks")
struct LockProofTests {
    private static func open(_ injection: String) async throws -> (line: String, status: Int32, made: Bool) {
        try await KillStory.use { story in
            let tool = ["strace", "-f", "-o", "/dev/null", "-e", "trace=flock", "-e", "inject=flock:\(injection)"]
            let child = try story.start("run", under: tool)
            let status = try await child.end().status
            let made = FileManager.default.fileExists(atPath: story.database + "-wal")
            return (child.printed.last ?? "nothing", status, made)
        }
    }

    @Test(
        "a store on a file system without flock is refused at once, with directory, file system and advice",
        arguments: ["error=ENOLCK", "error=EOPNOTSUPP", "error=ENOSYS"])
    func unsupported(injection: String) async throws {
        let (line, status, made) = try await Self.open(injection)
        #expect(status == 1 && !made)
        #expect(line.hasPrefix("error locksNotKept: the file system of /"), "\(line)")
        #expect(line.contains("does not keep file locks (flock: "), "\(line)")
        #expect(line.contains("put the store on a local file system"), "\(line)")
    }

    @Test("a store on a file system where flock says yes to everybody is refused")
    func pretended() async throws {
        let (line, status, made) = try await Self.open("retval=0")
        #expect(status == 1 && !made)
        #expect(line.hasPrefix("error locksNotKept: "), "\(line)")
        #expect(line.contains("two descriptors got a lock that excludes the other"), "\(line)")
    }

    @Test("a store opens beside one whose lock is held exclusively or shared, for that proves that locks are kept")
    func held() async throws {
        try await TemporaryStore.use { store in
            let path = store.directory + "/lock"
            let other = try FileLock.open(path)
            for mode in [FileLock.Mode.exclusive, .shared] {
                #expect(other.tryLock(mode))
                try LockProof.check(path)
                // The proof took nothing away.
                #expect(other.tryLock(mode))
                other.unlock()
            }
            try LockProof.check(path)
            #expect(other.tryLock(.exclusive))
        }
    }
}
