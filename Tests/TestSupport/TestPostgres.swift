import Foundation
import Glibc
import Synchronization

/// A PostgreSQL server of the distribution's, on a socket in a directory of its own.
///
/// It ends with this process, by whatever means that ends: a shell beside it waits for the end of a pipe.
package final class TestPostgres: Sendable {
    private struct State {
        var shell: pid_t = 0
        var lifeline: Int32 = -1
    }

    /// How a server ends.
    package enum End: Sendable {
        /// Every process of it is killed, as a loss of power would.
        case killed
        /// `pg_ctl stop -m immediate`: it ends without a checkpoint and recovers at its next start.
        case immediate
        /// `pg_ctl stop -m fast`: transactions are ended, and a checkpoint is made.
        case fast
    }

    package let directory: String
    /// Of its socket, and of TCP where a test lets it listen.
    package let port: Int
    private let state = Mutex(State())

    /// The one that most tests share, started when the first asks.
    package static let shared = Task { () throws -> TestPostgres in
        let server = try TestPostgres()
        try await server.start()
        return server
    }

    /// Makes the files of a server.
    package init(port: Int = 5432) throws {
        self.port = port
        directory = try Self.makeDirectory()
        try Self.run(
            Self.unprivileged + [
                try Self.binaries() + "/initdb", "-D", data, "-U", "postgres", "--auth=trust", "-E", "UTF8",
                "--locale=C",
                "-N",
            ])
    }

    /// Makes the files of a server that follows another one and can take its place.
    package init(standbyOf primary: TestPostgres) throws {
        port = primary.port
        directory = try Self.makeDirectory()
        try Self.run(
            Self.unprivileged + [
                try Self.binaries() + "/pg_basebackup", "-D", data, "-h", primary.directory, "-p", "\(primary.port)",
                "-U", "postgres", "--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync",
            ])
    }

    private static func makeDirectory() throws -> String {
        let directory = FileManager.default.temporaryDirectory.appending(path: "pg-\(UUID().uuidString.prefix(8))").path
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        if geteuid() == 0 {
            let account = try need(getpwnam("postgres") ?? getpwnam("nobody"), "no account to run the server as")
            try require(chown(directory, account.pointee.pw_uid, account.pointee.pw_gid) == 0)
        }
        return directory
    }

    /// Where its database is.
    package var data: String { directory + "/data" }

    /// The newest version that is installed.
    package static func binaries() throws -> String {
        let root = "/usr/lib/postgresql"
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: root)) ?? []
        let newest = versions.compactMap { Int($0) }.max()
        return try need(
            newest.map { "\(root)/\($0)/bin" },
            "there is no PostgreSQL server: scripts/setup test installs one (or SNAPWF_TEST_STORES=sqlite)")
    }

    /// A server refuses to be root.
    private static var unprivileged: [String] {
        guard geteuid() == 0 else { return [] }
        let account = getpwnam("postgres") != nil ? "postgres" : "nobody"
        return ["setpriv", "--reuid", account, "--regid", account, "--clear-groups"]
    }

    /// Makes a file that only the server can read, in its data directory.
    package func write(_ text: String, to name: String) throws {
        let path = "\(data)/\(name)"
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        try require(chmod(path, 0o600) == 0)
        if geteuid() == 0 {
            let account = try need(getpwnam("postgres") ?? getpwnam("nobody"), "no account to run the server as")
            try require(chown(path, account.pointee.pw_uid, account.pointee.pw_gid) == 0)
        }
    }

    /// Starts it, and returns when it answers.
    ///
    /// - Parameter settings: of its own, as `name=value`.
    package func start(_ settings: [String] = []) async throws {
        var ends: [Int32] = [0, 0]
        try require(pipe(&ends) == 0)
        // The children of tests must not keep the server alive.
        _ = fcntl(ends[1], F_SETFD, FD_CLOEXEC)
        let script = """
            "$@" >'\(directory)/log' 2>&1 3<&- & server=$!
            cat <&3 >/dev/null
            kill -QUIT $server 2>/dev/null; wait $server
            [ -e '\(directory)/keep' ] || rm -rf '\(directory)'
            """
        let postgres =
            [
                try Self.binaries() + "/postgres", "-D", data, "-k", directory, "-c", "listen_addresses=", "-c",
                "max_connections=200", "-c", "fsync=on", "-c", "shared_buffers=64MB", "-c", "port=\(port)",
            ] + settings.flatMap { ["-c", $0] }
        let shell = try Self.spawn(["sh", "-c", script, "sh"] + Self.unprivileged + postgres, lifeline: ends[0])
        close(ends[0])
        state.withLock { $0 = State(shell: shell, lifeline: ends[1]) }
        let question = [try Self.binaries() + "/pg_isready", "-q", "-h", directory, "-p", "\(port)", "-t", "1"]
        try await until("an answer") {
            do {
                try Self.run(question)
                return true
            } catch {
                return false
            }
        }
    }

    /// The server's first process.
    package var postmaster: Int32 {
        let text = (try? String(contentsOfFile: data + "/postmaster.pid", encoding: .utf8)) ?? ""
        return text.split(separator: "\n").first.flatMap { pid_t($0) } ?? 0
    }

    /// Kills every process of the server, as a loss of power would; its files stay.
    package func kill() async throws { try await end(.killed) }

    /// Ends the server; its files stay, and it can be started again.
    package func end(_ how: End) async throws {
        try Data().write(to: URL(fileURLWithPath: directory + "/keep"))
        let pid = postmaster
        try require(pid > 1)
        let children = Self.children(of: pid)
        switch how {
        case .killed: for child in [pid] + children { _ = Glibc.kill(child, SIGKILL) }
        case .immediate: _ = Glibc.kill(pid, SIGQUIT)
        case .fast: _ = Glibc.kill(pid, SIGINT)
        }
        try await until("its end") { ([pid] + children).allSatisfy { !Self.isAlive($0) } }
        endShell()
        try? FileManager.default.removeItem(atPath: directory + "/keep")
        try? FileManager.default.removeItem(atPath: data + "/postmaster.pid")
    }

    /// Stops it and removes its files.
    package func stop() { endShell() }

    private func endShell() {
        let old = state.withLock { state in
            defer { state = State() }
            return state
        }
        if old.lifeline >= 0 { close(old.lifeline) }
        var status: Int32 = 0
        if old.shell > 0 { _ = waitpid(old.shell, &status, 0) }
    }

    // MARK: - Use

    /// The address of a schema; of what the server has by itself when `nil`.
    package func address(schema: String? = nil) -> String {
        let options = schema.map { "&application_name=\($0)&options=-csearch_path%3D\($0)" } ?? ""
        return "postgresql:///postgres?host=\(directory)&user=postgres\(options)"
    }

    // MARK: - Processes

    private static func spawn(_ command: [String], lifeline: Int32) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, lifeline, 3)
        var argv = command.map { strdup($0) } + [nil]
        defer { for pointer in argv { free(pointer) } }
        var pid: pid_t = 0
        let code = posix_spawnp(&pid, command[0], &actions, nil, &argv, environ)
        try require(code == 0, "posix_spawn \(command[0]): \(String(cString: strerror(code)))")
        return pid
    }

    private static func run(_ command: [String]) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = command
        process.currentDirectoryURL = URL(fileURLWithPath: "/")
        process.standardOutput = FileHandle.nullDevice
        try process.run()
        process.waitUntilExit()
        try require(process.terminationStatus == 0, "\(command)")
    }

    private static func stat(_ pid: pid_t) -> [Substring] {
        let text = (try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)) ?? ""
        return text.split(separator: ")").last?.split(separator: " ") ?? []
    }

    private static func isAlive(_ pid: pid_t) -> Bool {
        guard let state = stat(pid).first else { return false }
        return state != "Z"
    }

    private static func children(of parent: pid_t) -> [pid_t] {
        let all = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return all.compactMap { pid_t($0) }.filter { pid in
            let fields = stat(pid)
            return fields.count > 1 && pid_t(fields[1]) == parent
        }
    }

    private func until(_ what: String, _ condition: () throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while try !condition() {
            try require(ContinuousClock.now < deadline, "PostgreSQL: \(what) did not come in time")
            try await Task.sleep(for: .milliseconds(20), clock: .continuous)
        }
    }
}

private func require(_ condition: Bool, _ what: @autoclosure () -> String = "a system call failed") throws {
    guard condition else { throw Command.Failure(description: what()) }
}

private func need<T>(_ value: T?, _ what: String) throws -> T {
    guard let value else { throw Command.Failure(description: what) }
    return value
}
