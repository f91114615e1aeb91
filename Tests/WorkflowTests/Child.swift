import Foundation
import Glibc
import Synchronization
import Testing

/// A real process that executes a workflow on a database and a directory, for tests to kill and stop.
final class Child: Sendable {
    let pid: pid_t
    private let output: String
    /// Once it was waited for, its pid may be somebody else's.
    private let isOver = Mutex(false)

    /// Where the test's own executable is, the child's is too.
    private static let executable: String = {
        let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return URL(fileURLWithPath: own).deletingLastPathComponent().appending(path: "WorkflowCrashChild").path
    }()

    private init(pid: pid_t, output: String) {
        self.pid = pid
        self.output = output
    }

    /// Starts the child; its standard output goes to a file.
    ///
    /// - Parameter tool: a program and its arguments that starts the child in our place.
    static func start(
        _ mode: String, database: String, world: String, count: Int = 1, environment: [String: String] = [:],
        under tool: [String] = []
    ) throws -> Child {
        let output = "\(world)/output-\(UUID().uuidString)"
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT, 0o600)
        let all = ProcessInfo.processInfo.environment.merging(environment) { $1 }.map { "\($0)=\($1)" }
        let command = tool + [executable, mode, database, world, "\(count)"]
        var argv = copies(command)
        var envp = copies(all)
        defer { for pointer in argv + envp { free(pointer) } }
        var pid: pid_t = 0
        let code = posix_spawnp(&pid, command[0], &actions, nil, &argv, &envp)
        try #require(code == 0, "posix_spawn \(command[0]): \(String(cString: strerror(code)))")
        return Child(pid: pid, output: output)
    }

    /// C strings, ended by a null pointer; the caller frees them.
    private static func copies(_ strings: [String]) -> [UnsafeMutablePointer<CChar>?] {
        strings.map { string in strdup(string) } + [nil]
    }

    /// What the child printed so far.
    var printed: [String] {
        let text = (try? String(contentsOfFile: output, encoding: .utf8)) ?? ""
        return text.split(separator: "\n").map(String.init)
    }

    func send(_ signal: Int32) {
        isOver.withLock { isOver in
            if !isOver { kill(pid, signal) }
        }
    }

    /// Stops the child, and returns once the kernel has stopped every thread of it.
    func stop() async throws {
        send(SIGSTOP)
        try await until {
            let text = (try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)) ?? ""
            return text.split(separator: ")").last?.first { $0 != " " } == "T"
        }
    }

    /// Waits for the end of the child, at most a minute, then kills it.
    ///
    /// - Returns: the signal that ended it, or `nil` if it exited, and the exit status.
    func end() async throws -> (signal: Int32?, status: Int32) {
        let deadline = ContinuousClock.now.advanced(by: .seconds(60))
        while true {
            let ended = isOver.withLock { isOver -> Int32? in
                var status: Int32 = 0
                guard waitpid(pid, &status, WNOHANG) == pid else { return nil }
                isOver = true
                return status
            }
            if let status = ended {
                let signal = status & 0x7f
                return (signal == 0 ? nil : signal, status >> 8 & 0xff)
            }
            if ContinuousClock.now > deadline {
                Issue.record("the child did not end within a minute")
                send(SIGKILL)
            }
            try await Task.sleep(for: .milliseconds(2))
        }
    }

    /// Waits until the child printed a line with the prefix.
    ///
    /// - Returns: the rest of the line.
    func line(_ prefix: String) async throws -> String {
        let deadline = ContinuousClock.now.advanced(by: .seconds(60))
        while ContinuousClock.now < deadline {
            if let line = printed.first(where: { $0.hasPrefix(prefix) }) { return String(line.dropFirst(prefix.count)) }
            try await Task.sleep(for: .milliseconds(5))
        }
        send(SIGKILL)
        throw Glitch(what: "a line '\(prefix)' from the child, which printed \(printed)")
    }
}
