import Foundation
import Glibc
import Testing

/// A state directory of its own, with snapwf to work on it; checks that nothing of it is left running.
final class Installation: Sendable {
    let home: String
    private let environment: [String: String]

    init(environment: [String: String] = [:]) throws {
        home = try makeTemporaryDirectory("home")
        self.environment = environment
    }

    deinit {
        for pid in Self.processes(mentioning: home) { kill(pid, SIGKILL) }
        try? FileManager.default.removeItem(atPath: home)
    }

    func start(_ arguments: String..., environment extra: [String: String] = [:]) throws -> Child {
        try start(arguments, environment: extra)
    }

    func start(_ arguments: [String], environment extra: [String: String] = [:]) throws -> Child {
        try Child(Programs.snapwf, arguments, environment: allVariables(extra))
    }

    @discardableResult
    func snapwf(_ arguments: String..., environment extra: [String: String] = [:]) async throws -> Finished {
        try await Child(Programs.snapwf, arguments, environment: allVariables(extra)).wait()
    }

    /// snapwf on a terminal of its own.
    func startOnTerminal(
        _ arguments: String..., columns: Int = 80, rows: Int = 24, environment extra: [String: String] = [:]
    ) throws -> TerminalChild {
        try TerminalChild(
            Programs.snapwf, arguments, columns: columns, rows: rows, environment: allVariables(extra))
    }

    private func allVariables(_ extra: [String: String]) -> [String: String] {
        environment.merging(["SNAPWF_HOME": home, "DOCKER_CONFIG": home + "/no-docker"]) { $1 }.merging(extra) { $1 }
    }

    /// The newest run, as `show --json` tells it.
    func lastRun() async throws -> [String: Any] {
        let shown = try await snapwf("show", "@last", "--json")
        try #require(shown.status == 0, "\(shown.everything)")
        return try shown.json()
    }

    /// All runs, newest first.
    func runIDs() async throws -> [String] {
        let shown = try await snapwf("ls", "--json")
        try #require(shown.status == 0, "\(shown.everything)")
        let runs = try #require(try shown.json()["runs"] as? [[String: Any]])
        return runs.compactMap { $0["id"] as? String }
    }

    /// Ids of the sandboxes that the last run used, oldest first.
    func sandboxes() async throws -> [String] {
        if try await runIDs().isEmpty { return [] }
        let resources = try #require(try await lastRun()["resources"] as? [[String: Any]])
        return resources.compactMap { $0["id"] as? String }
    }

    /// No process, directory, mount or open ledger entry of this installation is left.
    func expectNothingLeft(_ comment: String, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        var processes: [pid_t] = []
        // A process that was killed needs a moment until it is gone.
        for _ in 0..<100 {
            processes = Self.processes(mentioning: home)
            if processes.isEmpty { break }
            try await Task.sleep(for: .milliseconds(20))
        }
        let lines = processes.map { Self.commandLine(of: $0) }
        #expect(processes.isEmpty, "\(comment): still running: \(lines)", sourceLocation: sourceLocation)
        let sandboxes = names(in: "sandboxes") + names(in: "machines")
        #expect(sandboxes.isEmpty, "\(comment): sandboxes left: \(sandboxes)", sourceLocation: sourceLocation)
        let strange = names(in: "snapshots").filter { !$0.hasPrefix("snap-") }
        #expect(strange.isEmpty, "\(comment): left in the store: \(strange)", sourceLocation: sourceLocation)
        let mounts = kernelFile("/proc/self/mounts")
        try #require(mounts.contains("/proc"))
        #expect(!mounts.contains(home), "\(comment): still mounted", sourceLocation: sourceLocation)
        for id in try await runIDs() {
            let details = try await snapwf("show", id, "--json").json()
            for resource in try #require(details["resources"] as? [[String: Any]]) {
                let state = resource["state"] as? String ?? "?"
                #expect(
                    state == "released" || state == "lost", "\(comment): ledger entry \(resource)",
                    sourceLocation: sourceLocation)
            }
        }
    }

    func names(in directory: String) -> [String] {
        (try? FileManager.default.contentsOfDirectory(atPath: home + "/" + directory)) ?? []
    }

    /// Processes whose command line names this installation, zombies left out.
    var processes: [pid_t] { Self.processes(mentioning: home) }

    static func processes(mentioning text: String) -> [pid_t] {
        let all = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return all.compactMap { pid_t($0) }.filter { $0 != getpid() && commandLine(of: $0).contains(text) }
    }

    static func commandLine(of pid: pid_t) -> String {
        kernelFile("/proc/\(pid)/cmdline").replacing("\0", with: " ")
    }
}

/// The text of a file that the kernel makes up as it is read; empty when there is none (any more).
func kernelFile(_ path: String) -> String {
    guard let file = fopen(path, "r") else { return "" }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 1 << 16)
    while case let count = fread(&piece, 1, piece.count, file), count > 0 { bytes += piece[..<count] }
    return String(decoding: bytes, as: UTF8.self)
}
