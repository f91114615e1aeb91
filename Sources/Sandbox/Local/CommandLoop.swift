import CLinux
import Glibc

/// What goes to a command's standard input.
struct CommandInput: ~Copyable {
    /// In bytes.
    let size: UInt64
    private let file: Descriptor
    private var bytes: ArraySlice<UInt8>
    private var unread: UInt64

    init(_ contents: FileContents) throws(SandboxError) {
        switch contents {
        case .bytes(let all):
            size = UInt64(all.count)
            file = .none
            bytes = all[...]
            unread = 0
        case .hostFile(let path):
            let opened = try Descriptor.open(path, O_RDONLY)
            var status = stat()
            guard fstat(opened.raw, &status) == 0 else { throw .system(errno, "look at \(path)") }
            guard status.isRegularFile, let length = UInt64(exactly: status.st_size) else {
                throw SandboxError(.invalidArgument, "\(path) is not a regular file")
            }
            size = length
            file = consume opened
            bytes = []
            unread = length
        }
    }

    /// What to write next; empty at the end.
    mutating func next() throws(SandboxError) -> ArraySlice<UInt8> {
        guard bytes.isEmpty, unread > 0 else { return bytes }
        let raw = file.raw
        var chunk = [UInt8](repeating: 0, count: Int(min(unread, 256 << 10)))
        let count = retrying { read(raw, &chunk, chunk.count) }
        guard count > 0 else {
            throw .system(count < 0 ? errno : EIO, "read a file for the sandbox; did it become shorter")
        }
        unread -= UInt64(count)
        bytes = chunk[..<count]
        return bytes
    }

    mutating func consumed(_ count: Int) {
        bytes = bytes.dropFirst(count)
    }
}

/// A command that was started: this side's ends of its pipes.
struct RunningCommand: ~Copyable {
    /// bwrap outside of the sandbox, this process's child.
    let pid: Int32
    let process: Descriptor
    let input: Descriptor
    let output: Descriptor
    let errors: Descriptor
    let status: Descriptor
}

struct CommandResult: Sendable {
    enum End: Sendable {
        case exited(Int32)
        /// bwrap failed; its complaint is in `errors`.
        case neverStarted
        case timedOut
        case tooMuchOutput
        case cancelled
    }

    var end: End
    var output: [UInt8]
    var errors: [UInt8]
}

/// Feeds a command, gathers what it says, and ends it at its deadline. Blocks its thread.
struct CommandLoop: ~Copyable {
    /// Room for complaints, however little output is wanted.
    private static let leastErrorLimit = 64 << 10

    private let pid: Int32
    private let process: Descriptor
    /// None once everything was written: the command then sees the end.
    private var input: Descriptor
    private let outputs: [Int32]
    private let owned: Pipes
    private var feed: CommandInput
    private let cancel: Int32
    private var gathered: [[UInt8]] = [[], [], []]
    private var open = [true, true, true]
    /// The command's own process, from bwrap's word and before anybody could reap it.
    private var leader: ProcessIdentity?

    private struct Pipes: ~Copyable {
        let output: Descriptor
        let errors: Descriptor
        let status: Descriptor
    }

    init(_ command: consuming RunningCommand, input feed: consuming CommandInput, cancel: Int32) {
        for raw in [command.input.raw, command.output.raw, command.errors.raw, command.status.raw] {
            setNonBlocking(raw)
        }
        pid = command.pid
        outputs = [command.output.raw, command.errors.raw, command.status.raw]
        process = command.process
        input = command.input
        owned = Pipes(output: command.output, errors: command.errors, status: command.status)
        self.feed = feed
        self.cancel = cancel
    }

    /// Runs to the end; whatever happens, bwrap is gone and reaped afterwards.
    consuming func finish(deadline: Duration, limit: Int) throws(SandboxError) -> CommandResult {
        let end = SteadyClock.now() + deadline
        var early: CommandResult.End?
        do throws(SandboxError) {
            early = try pump(until: end, limit: limit)
        } catch {
            killGroup()
            _ = try ChildProcess.reap(pid)
            throw error
        }
        if early != nil { killGroup() }
        _ = try ChildProcess.reap(pid)
        if early == nil && !gather(limit: limit) { early = .tooMuchOutput }
        return CommandResult(end: early ?? exit, output: gathered[0], errors: gathered[1])
    }

    private var exit: CommandResult.End {
        // Only a command that was really executed has an exit code there; bwrap's own exit code says less.
        integer(named: "exit-code", inStatus: gathered[2]).map { .exited($0) } ?? .neverStarted
    }

    /// - Returns: `nil` when the command ended by itself.
    private mutating func pump(until end: Duration, limit: Int) throws(SandboxError) -> CommandResult.End? {
        while true {
            let rest = end - SteadyClock.now()
            guard rest > .zero else { return .timedOut }
            let wantsInput = try !feed.next().isEmpty
            if !wantsInput { input = .none }
            var pollers = [
                pollfd(fd: process.raw, events: Int16(POLLIN), revents: 0),
                pollfd(fd: cancel, events: Int16(POLLIN), revents: 0),
                pollfd(fd: input.raw, events: Int16(POLLOUT), revents: 0),
            ]
            for (index, raw) in outputs.enumerated() {
                pollers.append(pollfd(fd: open[index] ? raw : -1, events: Int16(POLLIN), revents: 0))
            }
            let milliseconds = Int32(clamping: min(rest.wholeMilliseconds + 1, 60_000))
            let count = poll(&pollers, nfds_t(pollers.count), milliseconds)
            if count < 0 && errno != EINTR { throw .system(errno, "wait for a command") }
            if count <= 0 { continue }
            if pollers[1].revents != 0 { return .cancelled }
            if pollers[2].revents != 0 { try write() }
            if pollers[3...].contains(where: { $0.revents != 0 }) && !gather(limit: limit) { return .tooMuchOutput }
            if pollers[0].revents != 0 { return nil }
        }
    }

    private mutating func write() throws(SandboxError) {
        let raw = input.raw
        let chunk = try feed.next()
        let count = retrying { chunk.withUnsafeBytes { Glibc.write(raw, $0.baseAddress, $0.count) } }
        if count > 0 {
            feed.consumed(count)
        } else if count < 0 && errno != EAGAIN {
            // EPIPE: the command reads no more, which is its own affair.
            guard errno == EPIPE else { throw .system(errno, "write to a command") }
            feed.consumed(chunk.count)
            input = .none
        }
    }

    /// Takes what the pipes hold.
    ///
    /// - Returns: whether it stayed within the limit.
    private mutating func gather(limit: Int) -> Bool {
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        for (index, raw) in outputs.enumerated() where open[index] {
            while true {
                let count = retrying { read(raw, &chunk, chunk.count) }
                if count == 0 { open[index] = false }
                if count <= 0 { break }
                gathered[index] += chunk[..<count]
                if gathered[index].count > (index == 0 ? limit : max(limit, Self.leastErrorLimit)) { return false }
            }
        }
        noteLeader()
        return true
    }

    private mutating func noteLeader() {
        guard leader == nil, let pid = integer(named: "child-pid", inStatus: gathered[2]) else { return }
        do throws(SandboxError) {
            leader = try ProcessIdentity(of: pid)
        } catch {
            // Gone already, or /proc cannot be read now: then there is no group to kill.
        }
    }

    /// Kills the command, its process group, and bwrap.
    private func killGroup() {
        if let leader {
            do throws(SandboxError) {
                // The process is its group's leader (bwrap's --new-session).
                if try ProcessIdentity(of: leader.pid) == leader { _ = kill(-leader.pid, SIGKILL) }
            } catch {
                // Killing bwrap below takes the command along (--die-with-parent).
            }
        }
        _ = clinux_pidfd_send_signal(process.raw, SIGKILL)
    }
}
