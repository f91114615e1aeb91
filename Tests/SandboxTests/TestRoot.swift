import Files
import Glibc
import Testing

@testable import Sandbox

/// A directory for local sandboxes that leaves nothing behind: no process, no mount, no file.
struct TestRoot: Sendable {
    /// Holds the root and whatever else a test needs; readable for everybody.
    let path: String
    var sandboxes: String { path + "/sandboxes" }
    var host: String { path + "/host" }
    let provider: LocalProvider

    /// The program that the package builds beside the tests.
    static var hostProgram: String {
        var buffer = [CChar](repeating: 0, count: 4096)
        let count = readlink("/proc/self/exe", &buffer, buffer.count)
        let path = String(decoding: buffer[..<max(0, count)].map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return path.split(separator: "/").dropLast().map { "/" + $0 }.joined() + "/SandboxShimHost"
    }

    private init(path: String) {
        self.path = path
        provider = LocalProvider(
            configuration: .init(root: path + "/sandboxes", shimCommand: [Self.hostProgram, "sandbox-shim"])
        )
    }

    /// Runs a test with a root of its own, and then looks for what it left.
    static func with(_ body: (TestRoot) async throws -> Void) async throws {
        var template = Array("/tmp/snapwf-sandbox-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SandboxError.system(errno, "make a test directory") }
        let root = TestRoot(
            path: String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        )
        chmod(root.path, 0o755)
        var failure: (any Error)?
        do { try await body(root) } catch { failure = error }
        do {
            for info in try await root.provider.list() { try await root.provider.kill(info.id) }
            try await root.provider.sweep()
            #expect(root.shims() == [], "a shim was left behind")
            try await onOwnThread { [path = root.path] in try removeTree(path) }
        } catch {
            Issue.record("cleaning up: \(error)")
        }
        if let failure { throw failure }
    }

    /// The processes that name this root on their command line.
    func shims() -> [Int32] {
        allProcesses().filter { pid in
            guard let line = try? SmallFile.read("/proc/\(pid)/cmdline") else { return false }
            let words = line.split(separator: 0).map { String(decoding: $0, as: UTF8.self) }
            return words.contains("sandbox-shim") && words.contains { $0.hasPrefix(sandboxes) }
        }
    }

    func directory(_ id: SandboxID) -> SandboxDirectory {
        SandboxDirectory(path: sandboxes + "/" + id.rawValue)
    }

    /// What the shim recorded.
    func state(_ id: SandboxID) throws -> StateRecord {
        try #require(try directory(id).readState())
    }

    /// Every process in a sandbox. Not the number of its namespace: such numbers are given anew at once.
    func members(_ id: SandboxID) throws -> [ProcessIdentity] {
        let initProcess = try #require(try state(id).initProcess)
        let namespace = try #require(pidNamespace(initProcess.pid))
        return try allProcesses().filter { pidNamespace($0) == namespace }.compactMap { try ProcessIdentity(of: $0) }
    }

    func spec(_ name: String = "test", timeToLive: Duration = .seconds(300)) -> SandboxSpec {
        SandboxSpec(name: name, labels: ["SNAPWF_RUN": name], timeToLive: timeToLive)
    }
}

func allProcesses() -> [Int32] {
    ((try? directoryEntries("/proc")) ?? [])?.compactMap { Int32($0) } ?? []
}

/// The pid namespace that a process is in, such as `pid:[4026531836]`.
func pidNamespace(_ pid: Int32) -> String? {
    var buffer = [CChar](repeating: 0, count: 128)
    let count = readlink("/proc/\(pid)/ns/pid", &buffer, buffer.count)
    return count > 0 ? String(decoding: buffer[..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self) : nil
}

/// Those of some processes that still live.
func living(_ processes: [ProcessIdentity]) throws -> [ProcessIdentity] {
    try processes.filter { try ProcessIdentity(of: $0.pid) == $0 }
}

/// Waits for something that must come; a test that waits in vain fails.
func eventually(
    _ what: Comment, within patience: Duration = .seconds(30), sourceLocation: SourceLocation = #_sourceLocation,
    _ condition: () async throws -> Bool
) async throws {
    let end = SteadyClock.now() + patience
    while SteadyClock.now() < end {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(10))
    }
    Issue.record(what, sourceLocation: sourceLocation)
}

/// What a program of this host printed and how it ended.
struct HostOutput: Sendable {
    var exitCode: Int32
    var text: String
}

/// Runs a program of this host to its end.
func runOnHost(_ program: String, _ arguments: [String]) async throws -> HostOutput {
    try await onOwnThread {
        let pipe = try Pipe()
        let pid = try ChildProcess.start(
            program, arguments, environment: ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
            descriptors: [-1, pipe.write.raw, pipe.write.raw]
        )
        let read = pipe.readEnd()
        let bytes = try SmallFile.read(read, path: "a pipe", limit: 1 << 20)
        return HostOutput(exitCode: try ChildProcess.reap(pid), text: String(decoding: bytes, as: UTF8.self))
    }
}

/// The error of code `code` that a call must throw.
func expectError(
    _ code: SandboxError.Code, sourceLocation: SourceLocation = #_sourceLocation, _ call: () async throws -> Void
) async {
    do {
        try await call()
        Issue.record("nothing was thrown; expected \(code)", sourceLocation: sourceLocation)
    } catch let error as SandboxError {
        #expect(error.code == code, "\(error)", sourceLocation: sourceLocation)
    } catch {
        Issue.record("\(error) was thrown; expected \(code)", sourceLocation: sourceLocation)
    }
}
