import CLinux
import Glibc

/// A command that was started: this side's ends of its pipes.
struct RunningCommand: ~Copyable {
    /// bwrap outside of the sandbox, this process's child.
    let pid: Int32
    let process: Descriptor
    let input: Descriptor
    let output: Descriptor
    let errors: Descriptor
    let status: Descriptor
    /// What is written to it lets the command begin.
    let gate: Descriptor
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
    /// Of a command that is listened to only the last few KiB.
    var errors: [UInt8]
}

/// Feeds a command, takes what it says, and ends it at its deadline or when it is cancelled. Blocks its thread.
struct CommandLoop: ~Copyable {
    /// Of a listened command's complaints so much is kept for ``CommandResult/errors``.
    private static let keptErrors = 4 << 10
    /// Once the command ended, what it left in a pipe is taken; a process that it left behind may write on for ever.
    private static let lastWords = 1 << 20
    /// So long a process that has nothing left but to end is waited for.
    private static let adoptionLimit = Duration.seconds(10)

    private enum Channel {
        static let output = 0
        static let errors = 1
        static let status = 2
    }

    private let pid: Int32
    private let process: Descriptor
    /// None once everything was written: the command then sees the end.
    private var input: Descriptor
    private let outputs: [Int32]
    private let owned: Pipes
    private let gate: Descriptor
    private var feed: CommandInput
    private let watch: any CommandWatch
    private let sink: CommandSink
    private var gathered: [[UInt8]] = [[], [], []]
    private var open = [true, true, true]
    /// The command's own process, from bwrap's word and before anybody could reap it.
    private var leader: ProcessIdentity?
    private var hasStarted = false

    private struct Pipes: ~Copyable {
        let output: Descriptor
        let errors: Descriptor
        let status: Descriptor
    }

    init(
        _ command: consuming RunningCommand, input feed: consuming CommandInput, watch: any CommandWatch,
        sink: CommandSink
    ) {
        for raw in [command.input.raw, command.output.raw, command.errors.raw, command.status.raw] {
            setNonBlocking(raw)
        }
        pid = command.pid
        outputs = [command.output.raw, command.errors.raw, command.status.raw]
        process = command.process
        input = command.input
        gate = command.gate
        owned = Pipes(output: command.output, errors: command.errors, status: command.status)
        self.feed = feed
        self.watch = watch
        self.sink = sink
    }

    /// Runs to the end; whatever happens, bwrap is gone and reaped afterwards.
    ///
    /// - Parameter deadline: `nil` for none.
    consuming func finish(deadline: Duration?) throws(SandboxError) -> CommandResult {
        let end = deadline.map { SteadyClock.now() + $0 }
        var early: CommandResult.End?
        do throws(SandboxError) {
            early = try pump(until: end)
        } catch {
            killGroup()
            _ = try ChildProcess.reap(pid)
            throw error
        }
        if early != nil { killGroup() }
        _ = try ChildProcess.reap(pid)
        if early == nil && !take(isLast: true) { early = .tooMuchOutput }
        return CommandResult(
            end: early ?? exit, output: gathered[Channel.output], errors: gathered[Channel.errors])
    }

    private var exit: CommandResult.End {
        // Only a command that was really executed has an exit code there; bwrap's own exit code says less.
        integer(named: "exit-code", inStatus: gathered[Channel.status]).map { .exited($0) } ?? .neverStarted
    }

    /// Whether more output can be taken now.
    private var hasRoom: Bool {
        if case .pass(let exchange) = sink { exchange.hasRoom } else { true }
    }

    /// - Returns: `nil` when the command ended by itself.
    private mutating func pump(until end: Duration?) throws(SandboxError) -> CommandResult.End? {
        while true {
            var milliseconds: Int64 = 60_000
            if let end {
                let rest = end - SteadyClock.now()
                guard rest > .zero else { return .timedOut }
                milliseconds = min(rest.wholeMilliseconds + 1, milliseconds)
            }
            var pollers = [
                pollfd(fd: process.raw, events: Int16(POLLIN), revents: 0),
                pollfd(fd: watch.readEnd, events: Int16(POLLIN), revents: 0),
                pollfd(fd: try wantsToWrite() ? input.raw : -1, events: Int16(POLLOUT), revents: 0),
            ]
            let hasRoom = hasRoom
            for (index, raw) in outputs.enumerated() {
                let isWanted = open[index] && (hasRoom || index == Channel.status)
                pollers.append(pollfd(fd: isWanted ? raw : -1, events: Int16(POLLIN), revents: 0))
            }
            let count = poll(&pollers, nfds_t(pollers.count), Int32(clamping: milliseconds))
            if count < 0 && errno != EINTR { throw .system(errno, "wait for a command") }
            if count <= 0 { continue }
            if pollers[1].revents != 0 && watch.isCancelled() { return .cancelled }
            if pollers[2].revents != 0 { try write() }
            if pollers[3...].contains(where: { $0.revents != 0 }) && !take(isLast: false) { return .tooMuchOutput }
            if pollers[0].revents != 0 { return nil }
        }
    }

    /// Whether there is something to write; closes the input at its end.
    private mutating func wantsToWrite() throws(SandboxError) -> Bool {
        switch try feed.next() {
        case .bytes: return true
        case .nothingYet: return false
        case .end:
            input = .none
            return false
        }
    }

    private mutating func write() throws(SandboxError) {
        let raw = input.raw
        guard case .bytes(let chunk) = try feed.next() else { return }
        let count = retrying { chunk.withUnsafeBytes { Glibc.write(raw, $0.baseAddress, $0.count) } }
        if count > 0 {
            feed.consumed(count)
        } else if count < 0 && errno != EAGAIN {
            // EPIPE: the command reads no more, which is its own affair.
            guard errno == EPIPE else { throw .system(errno, "write to a command") }
            feed.close()
            input = .none
        }
    }

    /// Takes what the pipes hold, as far as there is room. First what bwrap says: it tells of the start before the
    /// command can say anything.
    ///
    /// - Returns: whether it stayed within the limits.
    private mutating func take(isLast: Bool) -> Bool {
        var chunk = [UInt8](repeating: 0, count: 64 << 10)
        for index in [Channel.status, Channel.output, Channel.errors] where open[index] {
            let raw = outputs[index]
            var taken = 0
            while index == Channel.status || (isLast ? taken < Self.lastWords : hasRoom) {
                let count = retrying { read(raw, &chunk, chunk.count) }
                if count == 0 { open[index] = false }
                if count <= 0 { break }
                taken += count
                guard accept(chunk[..<count], from: index) else { return false }
            }
            if index == Channel.status { noteStart() }
        }
        return true
    }

    /// - Returns: whether it stayed within the limit.
    private mutating func accept(_ bytes: ArraySlice<UInt8>, from index: Int) -> Bool {
        if case .pass(let exchange) = sink, index != Channel.status {
            exchange.put(index == Channel.output ? .output(Array(bytes)) : .errors(Array(bytes)))
            if index == Channel.errors {
                gathered[index] = Array((gathered[index] + bytes).suffix(Self.keptErrors))
            }
            return true
        }
        gathered[index] += bytes
        guard case .gather(let limit) = sink else { return gathered[index].count <= CommandSink.leastErrorLimit }
        return gathered[index].count <= (index == Channel.output ? limit : max(limit, CommandSink.leastErrorLimit))
    }

    private mutating func noteStart() {
        guard !hasStarted, let pid = integer(named: "child-pid", inStatus: gathered[Channel.status]) else { return }
        hasStarted = true
        do throws(SandboxError) {
            leader = try ProcessIdentity(of: pid)
        } catch {
            // Gone already, or /proc cannot be read now: then there is no group to kill.
        }
        letBegin(pid)
        if case .pass(let exchange) = sink { exchange.put(.started) }
    }

    /// Lets the command begin once bwrap is its parent.
    ///
    /// To join a pid namespace, bwrap makes it by a process in between that ends at once. On a busy machine that one may live
    /// on until the command has asked to die with its parent (`fork_intermediate_child` and `handle_die_with_parent` in
    /// bubblewrap.c): then its end kills the command.
    private func letBegin(_ command: Int32) {
        let end = SteadyClock.now() + Self.adoptionLimit
        do throws(SandboxError) {
            while let status = try ProcessStatus(of: command), status.parent != pid, try ProcessStatus(of: pid) != nil,
                SteadyClock.now() < end
            {
                pauseThread(.milliseconds(1))
            }
        } catch {
            // /proc cannot be read now: the command may be killed then, and is not held back for ever.
        }
        var go: UInt8 = 1
        // Where nobody reads it, the command is gone.
        _ = retrying { Glibc.write(gate.raw, &go, 1) }
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
