import Foundation
import Glibc
import Synchronization

/// The fake of Depot's Sandbox API (Tests/Peer), as a process that can be killed and started again.
///
/// Its sandboxes outlive it, but not the test: they all hold a pipe whose other end is here, so they end with
/// ``stop()``, with this object, and with the test process in whatever way that ends. It needs root.
package final class Peer: Sendable {
    /// For API clients. It stays the same when the peer is started again.
    package let url: String
    package let port: Int
    /// The same API on a socket, always without TLS.
    package let socket: String
    package let state: String
    private let directory: TemporaryDirectory
    private let arguments: [String]
    private let lifeline: (read: Int32, write: Int32)
    private let process: Mutex<State>

    private struct State {
        /// nil: it is not running.
        var pid: pid_t?
        var isStopped = false
    }

    /// `SNAPWF_PEER_PYTHON`, else where `scripts/setup test` put it.
    package static let python: String = {
        ProcessInfo.processInfo.environment["SNAPWF_PEER_PYTHON"] ?? repository + "/.build-peer-python/bin/python"
    }()

    /// A program of Tests/Peer.
    package static func program(_ name: String) -> String { repository + "/Tests/Peer/" + name }

    /// Why there can be no peer here, or nil.
    package static var whyNot: String? {
        if getuid() != 0 { return "the peer needs root" }
        return access(python, X_OK) == 0 ? nil : "there is no \(python): run scripts/setup test"
    }

    private static let repository: String = {
        "/" + #filePath.split(separator: "/").dropLast(3).joined(separator: "/")
    }()

    /// Starts it; it listens when this returns.
    ///
    /// - Parameter organization: the only one, which calls must name then; without it, each is a world of its own.
    /// - Parameter minute: seconds in a minute of the API.
    /// - Parameter certificate: paths of certificate and key in PEM form; then it speaks TLS.
    /// - Parameter options: further ones of peer.py.
    package init(
        token: String? = nil, organization: String? = nil, minute: Double? = nil,
        certificate: (String, String)? = nil, options: [String] = []
    ) throws {
        if let reason = Self.whyNot { throw Command.Failure(description: reason) }
        directory = try TemporaryDirectory()
        state = directory.path + "/state"
        socket = directory.path + "/socket"
        var arguments = [Self.python, Self.program("peer.py"), "--state", state, "--unix", socket, "--lifeline"]
        if let token { arguments += ["--token", token] }
        if let organization { arguments += ["--org", organization] }
        if let minute { arguments += ["--minute", "\(minute)"] }
        if let (certificate, key) = certificate { arguments += ["--tls", certificate, key] }
        self.arguments = arguments + options
        lifeline = try Self.privatePipe()
        do {
            let started = try Self.start(self.arguments, port: 0, lifeline: lifeline.read, log: directory.path + "/log")
            (url, port) = (started.url, started.port)
            process = Mutex(State(pid: started.pid))
        } catch {
            close(lifeline.read)
            close(lifeline.write)
            throw error
        }
    }

    deinit { stop() }

    /// Ends the process at once, as a deploy gone wrong would. Sandboxes live on.
    package func kill() { end(SIGKILL) }

    /// Asks the process to end, as a deploy would. Sandboxes live on.
    package func terminate() { end(SIGTERM) }

    /// Starts it again with what it knew, at the same address.
    package func restart() throws {
        try process.withLock { process in
            guard process.pid == nil, !process.isStopped else {
                throw Command.Failure(description: "a peer that runs or was stopped cannot be started again")
            }
            let log = directory.path + "/log"
            process.pid = try Self.start(arguments, port: port, lifeline: lifeline.read, log: log).pid
        }
    }

    /// Waits until the process has ended by itself, because a fault told it to.
    package func waitUntilItDied() { end(nil) }

    /// Ends it and every sandbox. Stopping twice is fine.
    package func stop() {
        let isFirst = process.withLock { process in
            defer { process.isStopped = true }
            return !process.isStopped
        }
        guard isFirst else { return }
        close(lifeline.write)
        end(nil)
        close(lifeline.read)
    }

    /// Everything that it wrote to standard error.
    package var log: String { (try? String(contentsOfFile: directory.path + "/log", encoding: .utf8)) ?? "" }

    /// Sends a signal, if any, and waits for the end: half a minute, then it is killed.
    private func end(_ signal: Int32?) {
        process.withLock { process in
            guard let pid = process.pid else { return }
            if let signal { Glibc.kill(pid, signal) }
            let deadline = ContinuousClock.now + .seconds(30)
            while waitpid(pid, nil, WNOHANG) == 0 {
                if ContinuousClock.now > deadline { Glibc.kill(pid, SIGKILL) }
                usleep(1000)
            }
            process.pid = nil
        }
    }
}

extension Peer {
    private struct Ready: Decodable {
        let url: String
        let pid: pid_t
    }

    private static func start(
        _ arguments: [String], port: Int, lifeline: Int32, log: String
    ) throws -> (pid: pid_t, port: Int, url: String) {
        let output = try privatePipe()
        defer { close(output.read) }
        let pid: pid_t
        do {
            defer { close(output.write) }
            var actions = posix_spawn_file_actions_t()
            posix_spawn_file_actions_init(&actions)
            defer { posix_spawn_file_actions_destroy(&actions) }
            posix_spawn_file_actions_adddup2(&actions, lifeline, 0)
            posix_spawn_file_actions_adddup2(&actions, output.write, 1)
            posix_spawn_file_actions_addopen(&actions, 2, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
            pid = try spawn(arguments + ["--listen", "127.0.0.1:\(port)"], &actions)
        }
        do {
            let ready = try JSONDecoder().decode(Ready.self, from: Data(try line(of: output.read)))
            guard let port = ready.url.split(separator: ":").last.flatMap({ Int($0) }) else {
                throw Command.Failure(description: "no port in \(ready.url)")
            }
            return (pid, port, ready.url)
        } catch {
            Glibc.kill(pid, SIGKILL)
            waitpid(pid, nil, 0)
            let said = (try? String(contentsOfFile: log, encoding: .utf8)) ?? ""
            throw Command.Failure(description: "the peer did not start: \(error): \(said)")
        }
    }

    private static func spawn(_ command: [String], _ actions: inout posix_spawn_file_actions_t) throws -> pid_t {
        var environment = ProcessInfo.processInfo.environment
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        var argv = command.map { strdup($0) } + [nil]
        var envp = environment.map { strdup("\($0)=\($1)") } + [nil]
        defer { for pointer in argv + envp { free(pointer) } }
        // Threads of the pool block signals, and a child would inherit that.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        var pid: pid_t = 0
        let code = posix_spawn(&pid, command[0], &actions, &attributes, &argv, &envp)
        guard code == 0 else {
            throw Command.Failure(description: "posix_spawn \(command[0]): \(String(cString: strerror(code)))")
        }
        return pid
    }

    /// A pipe that no child inherits.
    private static func privatePipe() throws -> (read: Int32, write: Int32) {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Command.Failure(description: "pipe: \(errno)") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        return (ends[0], ends[1])
    }

    /// The first line that comes within half a minute.
    private static func line(of descriptor: Int32) throws -> [UInt8] {
        let deadline = ContinuousClock.now + .seconds(30)
        var line: [UInt8] = []
        while line.last != UInt8(ascii: "\n") {
            var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            var byte: UInt8 = 0
            guard ContinuousClock.now < deadline else { throw Command.Failure(description: "it says nothing") }
            guard poll(&request, 1, 100) > 0 else { continue }
            guard read(descriptor, &byte, 1) == 1 else { throw Command.Failure(description: "it ended") }
            line.append(byte)
        }
        return line
    }
}
