import CGuest
import Glibc
import GuestProtocol

/// What the host asks for, one message after the other, and what becomes of it.
final class Agent {
    /// Commands and files at once. Each holds at most some 130 KiB.
    private static let mostJobs = 128

    let port: GuestPortConnection
    private let bootMilliseconds: UInt32
    private let warnings: [String]
    private(set) var root: GuestRoot?
    private(set) var jobs: [UInt32: Job] = [:]
    /// The request to end the machine.
    private(set) var powerOff: UInt32?

    init(port: GuestPortConnection, bootMilliseconds: UInt32, warnings: [String]) {
        self.port = port
        self.bootMilliseconds = bootMilliseconds
        self.warnings = warnings
    }

    /// Takes one frame, of whatever session.
    func take(_ frame: Frame) {
        let message: HostMessage
        do throws(ProtocolError) {
            message = try HostMessage(frame)
        } catch {
            guard frame.nonce == port.nonce else { return }
            refuse(
                frame.id,
                error.code == .unknownKind
                    ? "\(error): the agent speaks version \(GuestHello.version)" : "\(error)")
            return
        }
        if case .hello(let version) = message {
            greet(nonce: frame.nonce, version: version)
        } else if frame.nonce == port.nonce {
            take(message, id: frame.id)
        }
    }

    private func greet(nonce: UInt64, version: UInt32) {
        if nonce != port.nonce {
            for job in jobs.values { job.cancel() }
            jobs.removeAll()
            port.begin(nonce: nonce)
        }
        port.send(
            .hello(
                GuestHello(
                    bootMilliseconds: bootMilliseconds, kernelRelease: KernelRelease.read(),
                    isConfigured: root != nil, warnings: warnings)), id: 0)
        guard version != GuestHello.version else { return }
        let words =
            "the host speaks version \(version) of the protocol, the agent \(GuestHello.version): take the agent"
            + " that came with the host's snapwf"
        port.send(.failed(GuestFailure(.version, words)), id: 0)
    }

    private func take(_ message: HostMessage, id: UInt32) {
        switch message {
        case .hello: return
        case .configure(let configuration): configure(configuration, id: id)
        case .run, .writeFile, .readFile, .sync: begin(message, id: id)
        case .input(let bytes): input(bytes, id: id)
        case .inputEnd: endInput(id)
        case .credit(let channel, let count): credit(channel, count, id: id)
        case .resize(let size):
            if let terminal = jobs[id]?.terminal {
                cguest_terminal_size(terminal.raw, UInt32(size.rows), UInt32(size.columns))
            }
        case .signal(let number): jobs[id]?.signal(number)
        case .cancel: cancel(id)
        case .powerOff: powerOff = id
        case .ping: port.send(.pong, id: id)
        case .status: port.send(.status(status()), id: id)
        }
    }

    /// Answers what makes no sense; a job of that id is over with it.
    private func refuse(_ id: UInt32, _ why: String) {
        if let job = jobs.removeValue(forKey: id) { job.cancel() }
        port.send(.failed(GuestFailure(.badMessage, why)), id: id)
    }

    private func configure(_ configuration: GuestConfiguration, id: UInt32) {
        guard root == nil else {
            port.send(.failed(GuestFailure(.alreadyConfigured, "the guest is configured already")), id: id)
            return
        }
        do throws(GuestFailure) {
            let root = try GuestRoot(configuration)
            self.root = root
            for note in root.notes { Console.say(note) }
            port.send(.done, id: id)
        } catch {
            port.send(.failed(error), id: id)
        }
    }

    private func begin(_ message: HostMessage, id: UInt32) {
        if jobs[id] != nil { return refuse(id, "the id \(id) is in use") }
        do throws(GuestFailure) {
            guard let root else { throw GuestFailure(.notConfigured, "the guest is not configured yet") }
            guard jobs.count < Self.mostJobs else {
                throw GuestFailure(.busy, "\(Self.mostJobs) commands and files are at work: wait for one of them")
            }
            let launch = Launch(root: root)
            do throws(SystemError) {
                switch message {
                case .writeFile(let path, let mode): jobs[id] = try launch.write(path, mode: mode, id: id)
                case .readFile(let path, let limit): jobs[id] = try launch.read(path, limit: limit, id: id)
                case .sync: jobs[id] = try launch.sync(id: id)
                default: break
                }
            } catch {
                throw error.failure(.busy)
            }
            if case .run(let request) = message { jobs[id] = try launch.command(request, id: id) }
        } catch {
            port.send(.failed(error), id: id)
        }
    }

    /// Nothing of it is held afterwards, so that it can be unmounted.
    func releaseRoot() {
        jobs.removeAll()
        root = nil
    }

    private func status() -> GuestStatus {
        let memory = MemoryCounts.read()
        var disk = statvfs()
        let hasDisk = root.map { fstatvfs($0.descriptor.raw, &disk) == 0 } ?? false
        let block = UInt64(disk.f_frsize)
        return GuestStatus(
            memoryTotal: memory.total, memoryAvailable: memory.available,
            diskTotal: hasDisk ? UInt64(disk.f_blocks).multipliedReportingOverflow(by: block).partialValue : 0,
            diskAvailable: hasDisk ? UInt64(disk.f_bavail).multipliedReportingOverflow(by: block).partialValue : 0,
            uptimeMilliseconds: cguest_uptime(), bootMilliseconds: bootMilliseconds, running: UInt32(jobs.count))
    }
}

// What goes to and comes from the processes.
extension Agent {
    private static let endOfTransmission: UInt8 = 4

    private func input(_ bytes: [UInt8], id: UInt32) {
        // It may have ended since.
        guard let job = jobs[id] else { return }
        guard job.inputWindow.received(bytes.count), !job.inputHasEnded else {
            return refuse(id, "more input came than there was credit for, or some after its end")
        }
        guard job.input != nil else { return }
        job.pendingInput += bytes
        feed(job)
    }

    private func endInput(_ id: UInt32) {
        guard let job = jobs[id] else { return }
        job.inputHasEnded = true
        feed(job)
    }

    private func cancel(_ id: UInt32) {
        guard let job = jobs[id] else { return }
        job.cancel()
        settle(job)
    }

    private func credit(_ channel: GuestChannel, _ count: UInt32, id: UInt32) {
        guard let job = jobs[id], let index = job.outputs.firstIndex(where: { $0.channel == channel }) else { return }
        if !job.outputs[index].window.credit(count) { refuse(id, "more credit came than there is") }
    }

    /// Writes what the process takes now.
    func feed(_ job: Job) {
        guard let input = job.input else { return }
        while !job.pendingInput.isEmpty {
            let count = write(input.raw, job.pendingInput, job.pendingInput.count)
            if count < 0 && errno == EINTR { continue }
            if count < 0 && errno == EAGAIN { return }
            guard count > 0 else { return closeInput(job) }
            job.pendingInput.removeFirst(count)
            if let credit = job.inputWindow.passedOn(count) { port.send(.inputCredit(credit), id: job.id) }
        }
        guard job.inputHasEnded else { return }
        // A terminal stays; its reader is told by the character for it.
        if job.terminal != nil { _ = write(input.raw, [Self.endOfTransmission], 1) }
        job.input = nil
    }

    /// Nobody reads.
    func closeInput(_ job: Job) {
        guard job.input != nil else { return }
        job.input = nil
        job.pendingInput = []
        if !job.inputHasEnded { port.send(.inputClosed, id: job.id) }
    }

    /// Passes on what a process said, as far as there is credit: one piece.
    func drain(_ job: Job, _ index: Int) {
        let output = job.outputs[index]
        guard let descriptor = output.descriptor else { return }
        let piece = min(output.window.piece, output.rest ?? .max)
        guard piece > 0 else { return }
        var failure: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: piece) { buffer, count in
            let result = read(descriptor.raw, buffer.baseAddress, piece)
            failure = result < 0 ? errno : 0
            count = max(0, result)
        }
        if failure == EINTR || (failure == EAGAIN && output.rest == nil) { return }
        if bytes.isEmpty {
            job.outputs[index].descriptor = nil
        } else {
            job.outputs[index].window.sent(bytes.count)
            if let rest = output.rest {
                job.outputs[index].rest = rest - bytes.count
                if rest == bytes.count { job.outputs[index].descriptor = nil }
            }
            port.send(.output(output.channel, bytes), id: job.id)
        }
    }

    /// Reads what a child reports about itself; its end means that the program runs.
    func readReport(_ job: Job) {
        guard let report = job.report else { return }
        var buffer = [UInt8](repeating: 0, count: 64)
        let count = read(report.raw, &buffer, buffer.count)
        if count < 0 && (errno == EINTR || errno == EAGAIN) { return }
        if count > 0 {
            job.reported += buffer[..<count].prefix(max(0, 64 - job.reported.count))
            return
        }
        job.report = nil
        guard job.reported.isEmpty else {
            for index in job.outputs.indices { job.outputs[index].descriptor = nil }
            return
        }
        if case .command = job.kind { port.send(.started(pid: job.pid), id: job.id) }
    }

    /// Reaps every child that ended: jobs, and orphans that the first process inherits.
    func reap() {
        while true {
            var isSignal: Int32 = 0
            var number: Int32 = 0
            let pid = cguest_reap(&isSignal, &number)
            guard pid > 0 else { return }
            guard let job = jobs.values.first(where: { $0.pid == pid && $0.end == nil }) else { continue }
            job.ended(isSignal != 0 ? .signal(number) : .code(number))
        }
    }

    /// Tells the end of a job that is over.
    func settle(_ job: Job) {
        guard job.isOver, jobs[job.id] === job else { return }
        jobs[job.id] = nil
        port.send(job.lastMessage, id: job.id)
    }
}

enum KernelRelease {
    static func read() -> String {
        String((SmallFiles.text("/proc/sys/kernel/osrelease") ?? "unknown").trimmedLine)
    }
}
