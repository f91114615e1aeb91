import CGuest
import Glibc
import GuestProtocol

/// A command, or a file being written or read, in a process of its own.
final class Job {
    enum Kind {
        case command(program: String)
        case write(path: String)
        case read(path: String)
        case sync
    }

    /// One of a process's channels to the host.
    struct Output {
        let channel: GuestChannel
        /// `nil` once everything was taken.
        var descriptor: Descriptor?
        var window = SendWindow()
        /// After the command's end: how much of what it wrote is still in the pipe. A process that it left behind may
        /// write on for ever.
        var rest: Int?
    }

    let id: UInt32
    let kind: Kind
    let pid: Int32
    /// The child writes here why it failed; the end of file says that it executed its program, or is over.
    var report: Descriptor?
    var reported: [UInt8] = []
    /// `nil` once everything was written, or nobody reads.
    var input: Descriptor?
    var pendingInput: [UInt8] = []
    var inputHasEnded: Bool
    var inputWindow = ReceiveWindow()
    var outputs: [Output]
    /// The terminal's own end.
    let terminal: Descriptor?
    /// How the process ended; set once it is reaped, and its pid free for others.
    var end: CommandEnd?
    var isCancelled = false

    init(
        id: UInt32, kind: Kind, pid: Int32, report: Descriptor, input: Descriptor?, outputs: [Output],
        terminal: Descriptor? = nil
    ) {
        self.id = id
        self.kind = kind
        self.pid = pid
        self.report = report
        self.input = input
        inputHasEnded = input == nil
        self.outputs = outputs
        self.terminal = terminal
    }

    /// Whether its output may be told: not before the word that the program runs.
    var hasStarted: Bool { if case .command = kind { report == nil && reported.isEmpty } else { true } }

    var isOver: Bool { end != nil && report == nil && outputs.allSatisfy { $0.descriptor == nil } }

    func signal(_ number: Int32) {
        guard end == nil else { return }
        // The group is there once the child has made its session.
        if kill(-pid, number) != 0 { kill(pid, number) }
    }

    func cancel() {
        isCancelled = true
        if case .write = kind { signal(SIGTERM) } else { signal(SIGKILL) }
        input = nil
        pendingInput = []
        for index in outputs.indices { outputs[index].descriptor = nil }
    }

    /// Notes the end, and how much of what was said is still to be taken.
    func ended(_ end: CommandEnd) {
        self.end = end
        input = nil
        pendingInput = []
        for (index, output) in outputs.enumerated() {
            guard let descriptor = output.descriptor else { continue }
            // What waits in a terminal cannot be counted; once all of its users are gone it says so itself.
            outputs[index].rest = terminal == nil ? Int(max(0, cguest_waiting(descriptor.raw))) : 1 << 20
            if outputs[index].rest == 0 { outputs[index].descriptor = nil }
        }
    }

    /// What the host is told at last.
    var lastMessage: GuestMessage {
        if let failure { return .failed(failure) }
        guard let end else { return .failed(GuestFailure(.system, "a process is lost")) }
        if case .command = kind { return .exited(end) }
        if end == .code(0) { return .done }
        if isCancelled { return .failed(GuestFailure(.cancelled, "\(action) was cancelled")) }
        return .failed(GuestFailure(.system, "cannot \(action): the process for it ended with \(end.exitCode)"))
    }

    private var action: String {
        switch kind {
        case .command(let program): "run \(program)"
        case .write(let path): "write \(path)"
        case .read(let path): "read \(path)"
        case .sync: "put the root file system on disk"
        }
    }

    /// What the child reported.
    private var failure: GuestFailure? {
        let report = reported.withUnsafeBytes { bytes -> cguest_report? in
            bytes.count == MemoryLayout<cguest_report>.size ? bytes.loadUnaligned(as: cguest_report.self) : nil
        }
        guard let report else { return nil }
        let reason = reasonText(report.error)
        func failure(_ code: GuestFailure.Code, _ what: String) -> GuestFailure {
            GuestFailure(code, errno: report.error, "\(what): \(reason)")
        }
        switch UInt32(bitPattern: report.step) {
        case CGUEST_STEP_DIRECTORY.rawValue:
            return failure(.workingDirectory, "the working directory cannot be entered")
        case CGUEST_STEP_USER.rawValue: return failure(.user, "the command's user cannot be taken on")
        case CGUEST_STEP_EXEC.rawValue where report.error == ENOENT || report.error == ENOTDIR:
            return failure(.notFound, "cannot \(action): there is no such program, or not the one that runs it")
        case CGUEST_STEP_EXEC.rawValue:
            let isOnlyNow = [E2BIG, ENOMEM, EAGAIN, EMFILE, ENFILE, EIO].contains(report.error)
            return failure(isOnlyNow ? .system : .notExecutable, "cannot \(action)")
        case CGUEST_STEP_FILE.rawValue:
            switch report.error {
            case ENOENT: return failure(.notFound, "cannot \(action)")
            case EFBIG: return GuestFailure(.tooLarge, errno: EFBIG, "cannot \(action): it is larger than allowed")
            case ENOSPC, EDQUOT: return failure(.outOfSpace, "cannot \(action)")
            default: return failure(.system, "cannot \(action)")
            }
        default: return failure(.system, "the process cannot be set up")
        }
    }
}
