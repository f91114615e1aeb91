import Foundation
import Glibc
import Synchronization
import TestSupport
import Testing

/// A child process whose standard streams are a terminal, and that terminal's other end: the keys and the screen.
final class TerminalChild: Sendable {
    private struct State {
        var bytes: [UInt8] = []
        var screen: Screen
        /// Bytes of a character that is not whole yet.
        var pending: [UInt8] = []
        var wantsHangUp = false
        var isOpen = true
        var status: Int32?
    }

    let pid: pid_t
    private let master: Int32
    private let device: String
    private let state: Mutex<State>

    init(
        _ executable: String, _ arguments: [String], columns: Int, rows: Int, environment: [String: String]
    ) throws {
        // What posix_openpt, unlockpt and ptsname do, which Swift does not see (ioctl_tty(2): TIOCSPTLCK, TIOCGPTN).
        master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
        var lock: Int32 = 0
        var number: UInt32 = 0
        try #require(
            master >= 0 && ioctl(master, 0x4004_5431, &lock) == 0 && ioctl(master, 0x8004_5430, &number) == 0,
            "there is no pseudo-terminal")
        device = "/dev/pts/\(number)"
        state = Mutex(State(screen: Screen(columns: columns, rows: rows)))
        Self.setSize(master, columns: columns, rows: rows)
        let variables = ["TERM": "xterm-256color", "LC_ALL": "C.UTF-8"].merging(environment) { $1 }
        pid = try Self.spawn(executable, arguments, on: device, variables)
        Thread.detachNewThread { [self] in read() }
    }

    deinit { if state.withLock({ $0.status }) == nil { Glibc.kill(pid, SIGKILL) } }

    // MARK: - The screen

    var screen: Screen { state.withLock { $0.screen } }
    /// Everything that was written, as it was written.
    var raw: String { state.withLock { String(decoding: $0.bytes, as: UTF8.self) } }

    func resize(columns: Int, rows: Int = 24) {
        state.withLock {
            $0.screen.resize(columns: columns)
            Self.setSize(master, columns: columns, rows: rows)
        }
    }

    // MARK: - The keys, and everything else that can happen

    func type(_ text: String) { try? writeAll(text, to: master) }

    func signal(_ number: Int32) { Glibc.kill(pid, number) }

    /// Another program, a shell for example, writes to the same terminal.
    func writeBeside(_ text: String) throws {
        let descriptor = open(device, O_WRONLY | O_NOCTTY | O_CLOEXEC)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        try writeAll(text, to: descriptor)
    }

    /// The window is closed.
    func hangUp() { state.withLock { $0.wantsHangUp = true } }

    /// The exit code, 128 + n when signal n ended it. What is on the screen then is the last word.
    func wait(_ deadline: Duration = .seconds(120)) async throws -> Int32 {
        let end = ContinuousClock.now + deadline
        while state.withLock({ $0.status == nil || $0.isOpen }) {
            guard ContinuousClock.now < end else {
                Glibc.kill(pid, SIGKILL)
                Issue.record("it did not end in \(deadline): \(screen.everything)")
                return -1
            }
            try await Task.sleep(for: .milliseconds(10))
        }
        return state.withLock { $0.status ?? -1 }
    }

    private func writeAll(_ text: String, to descriptor: Int32) throws {
        let bytes = Array(text.utf8)
        try #require(write(descriptor, bytes, bytes.count) == bytes.count)
    }

    // MARK: - Effects

    private func read() {
        var buffer = [UInt8](repeating: 0, count: 1 << 14)
        while !state.withLock({ $0.wantsHangUp }) {
            reap()
            var ready = pollfd(fd: master, events: Int16(POLLIN), revents: 0)
            guard poll(&ready, 1, 20) > 0 else {
                // Whoever else holds the terminal is not waited for.
                if state.withLock({ $0.status != nil }) { break }
                continue
            }
            let count = Glibc.read(master, &buffer, buffer.count)
            // EIO: nobody has the terminal open any more.
            guard count > 0 else { break }
            state.withLock { Self.take(buffer[..<count], &$0) }
        }
        close(master)
        state.withLock { $0.isOpen = false }
        while state.withLock({ $0.status == nil }) {
            reap()
            usleep(10_000)
        }
    }

    private func reap() {
        var status: Int32 = 0
        guard state.withLock({ $0.status }) == nil, waitpid(pid, &status, WNOHANG) == pid else { return }
        let signal = status & 0x7F
        state.withLock { $0.status = signal == 0 ? (status >> 8) & 0xFF : 128 + signal }
    }

    private static func take(_ bytes: ArraySlice<UInt8>, _ state: inout State) {
        state.bytes += bytes
        var whole = state.pending + bytes
        state.pending = []
        // A character, or a sequence that begins with ESC, may come in two pieces.
        if let start = whole.suffix(16).lastIndex(where: { $0 == 0x1B || $0 >= 0xC0 }) {
            let isSequence = whole[start] == 0x1B
            let rest = whole[start...]
            let isOver =
                isSequence
                ? rest.dropFirst().contains { (0x40...0x7E).contains($0) && $0 != 0x5B }
                : rest.count >= (whole[start] >= 0xF0 ? 4 : whole[start] >= 0xE0 ? 3 : 2)
            if !isOver {
                state.pending = Array(rest)
                whole.removeSubrange(start...)
            }
        }
        state.screen.write(String(decoding: whole, as: UTF8.self))
    }

    private static func setSize(_ descriptor: Int32, columns: Int, rows: Int) {
        var size = winsize(ws_row: UInt16(rows), ws_col: UInt16(columns), ws_xpixel: 0, ws_ypixel: 0)
        _ = ioctl(descriptor, UInt(TIOCSWINSZ), &size)
    }

    private static func spawn(
        _ executable: String, _ arguments: [String], on device: String, _ variables: [String: String]
    ) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        // The first terminal that the leader of a session opens becomes its own: keys send it signals.
        posix_spawn_file_actions_addopen(&actions, 0, device, O_RDWR, 0)
        posix_spawn_file_actions_adddup2(&actions, 0, 1)
        posix_spawn_file_actions_adddup2(&actions, 0, 2)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // POSIX_SPAWN_SETSID of spawn.h, which Swift does not see.
        posix_spawnattr_setflags(&attributes, 0x80)
        let environment = ProcessInfo.processInfo.environment.merging(variables) { $1 }.map { "\($0.key)=\($0.value)" }
        let words: [UnsafeMutablePointer<CChar>?] = ([executable] + arguments).map { strdup($0) } + [nil]
        let settings: [UnsafeMutablePointer<CChar>?] = environment.map { strdup($0) } + [nil]
        defer { for text in words + settings { free(text) } }
        var child = pid_t()
        let code = posix_spawn(&child, executable, &actions, &attributes, words, settings)
        try #require(code == 0, "\(executable) cannot be started: \(String(cString: strerror(code)))")
        return child
    }
}
