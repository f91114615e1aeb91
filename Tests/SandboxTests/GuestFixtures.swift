import Glibc
import TestSupport
import Testing

@testable import Sandbox

/// What guests of tests are made of: a kernel, an agent, and a root with nothing but busybox. Each is made or fetched once.
actor GuestFixtures {
    static let shared = GuestFixtures()

    private var known: Made?

    struct Made: Sendable {
        var kernel: String
        var agent: String
        var snapshot: SnapshotRoot
        /// Holds what can be made again, for all tests.
        var cache: String
    }

    /// Whether guests can be started here at all. The kernel is fetched when it is wanted: without the network that fails.
    static var isPossible: Bool { agent != nil && hasQEMU }

    static var hasQEMU: Bool {
        do throws(SandboxError) { _ = try QEMUCommand.locate(nil) } catch { return false }
        return true
    }

    /// `SNAPWF_AGENT`, or the one that was built to be released. One beside the tests would not be static.
    static let agent: String? = {
        if let named = variable("SNAPWF_AGENT") { return named }
        let built = (variable("SNAPWF_BIN") ?? packageDirectory + "/.build-release/release") + "/snapwf-agent"
        return access(built, X_OK) == 0 ? built : nil
    }()

    func make() async throws -> Made {
        if let known { return known }
        let made = Made(
            kernel: try await Self.kernel(), agent: try #require(Self.agent), snapshot: try await Self.snapshot(),
            cache: Self.packageDirectory + "/.build-test-kernel/cache")
        known = made
        return made
    }

    private static let packageDirectory = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined()

    private static func variable(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }

    /// `SNAPWF_KERNEL`, or the distribution's cloud kernel, unpacked and kept for the next time.
    private static func kernel() async throws -> String {
        if let named = variable("SNAPWF_KERNEL") { return named }
        let keep = packageDirectory + "/.build-test-kernel/kernel"
        try await Command.run(packageDirectory + "/scripts/kernel", [keep])
        return try #require(try kernel(in: keep))
    }

    private static func kernel(in tree: String) throws -> String? {
        let names = try directoryEntries(tree + "/boot") ?? []
        return names.first { $0.hasPrefix("vmlinuz-") }.map { "\(tree)/boot/\($0)" }
    }

    /// An ext4 with busybox and `/work`; not changed by anybody, so it stays for the next time, too.
    private static func snapshot() async throws -> SnapshotRoot {
        let path = packageDirectory + "/.build-test-kernel/busybox-1.ext4"
        if linkStatus(path) == nil {
            let script = """
                set -e
                rm -rf "$1.new" "$1.tree"; mkdir -p "$1.tree/bin" "$1.tree/work" "$1.tree/tmp" "$1.tree/etc"
                chmod 1777 "$1.tree/tmp"
                cp /bin/busybox "$1.tree/bin/busybox"
                for name in $(/bin/busybox --list); do ln -s busybox "$1.tree/bin/$name" 2> /dev/null || true; done
                echo 'root:x:0:0::/work:/bin/sh' > "$1.tree/etc/passwd"
                echo 'guest:x:1000:1000::/work:/bin/sh' >> "$1.tree/etc/passwd"
                printf 'root:x:0:\\nguest:x:1000:\\n' > "$1.tree/etc/group"
                mke2fs -q -t ext4 -d "$1.tree" "$1.new" 32M
                rm -rf "$1.tree"; mv "$1.new" "$1"
                """
            try await Command.run("sh", ["-c", script, "sh", path])
        }
        return SnapshotRoot(
            path: path, environment: ["PATH=/bin", "HOME=/work", "IMAGE=busybox"], workingDirectory: "/work")
    }
}

/// A directory for virtual machines that leaves nothing behind: no process, no file.
struct GuestWorld: Sendable {
    let path: String
    let provider: VMProvider

    /// - Parameter change: of the configuration.
    static func with(
        _ change: (inout VMProvider.Configuration) -> Void = { _ in }, _ body: (GuestWorld) async throws -> Void
    ) async throws {
        let made = try await GuestFixtures.shared.make()
        let directory = try TemporaryDirectory()
        var configuration = VMProvider.Configuration(
            root: directory.path + "/sandboxes", cache: made.cache,
            shimCommand: [TestRoot.hostProgram, "guest-shim"], agent: made.agent)
        configuration.kernel = made.kernel
        configuration.defaultSnapshot = made.snapshot
        change(&configuration)
        let world = GuestWorld(path: directory.path, provider: VMProvider(configuration: configuration))
        var failure: (any Error)?
        do { try await body(world) } catch { failure = error }
        do {
            for info in try await world.provider.list() { try await world.provider.kill(info.id) }
            try await world.provider.sweep()
            #expect(world.processes() == [], "a shim or a QEMU was left behind")
            #expect(try directoryEntries(configuration.root) ?? [] == [])
        } catch {
            Issue.record("cleaning up: \(error)")
        }
        if let failure { throw failure }
    }

    /// The processes that name this world on their command line.
    func processes() -> [Int32] {
        allProcesses().filter { pid in
            guard let line = try? SmallFile.read("/proc/\(pid)/cmdline") else { return false }
            return String(decoding: line, as: UTF8.self).contains(path)
        }
    }

    func spec(timeToLive: Duration = .seconds(600)) -> SandboxSpec {
        SandboxSpec(name: "guest", labels: ["SNAPWF_RUN": "g"], timeToLive: timeToLive)
    }

    func directory(_ id: SandboxID) -> SandboxDirectory {
        SandboxDirectory(path: provider.configuration.root + "/" + id.rawValue)
    }

    /// The reason with which a sandbox ended; waits for it.
    func reason(_ id: SandboxID, within patience: Duration = .seconds(90)) async throws -> String {
        var reason: String?
        try await eventually("the guest goes on", within: patience) {
            if case .ended(let why) = try await provider.get(id)?.state { reason = why }
            return reason != nil
        }
        return reason ?? ""
    }
}
