import CGuest
import Glibc
import GuestProtocol

/// Starts processes in the mounted root.
struct Launch {
    let root: GuestRoot

    /// A pipe whose one end goes to a child.
    private struct Pipe {
        let here: Descriptor
        let there: Descriptor

        /// - Parameter reads: whether this side reads.
        init(reads: Bool) throws(SystemError) {
            var ends: [Int32] = [-1, -1]
            try SystemError.check(cguest_pipe(&ends, reads ? 0 : 1), "make a pipe")
            here = Descriptor(ends[reads ? 0 : 1])
            there = Descriptor(ends[reads ? 1 : 0])
        }
    }

    func command(_ request: CommandRequest, id: UInt32) throws(GuestFailure) -> Job {
        guard let program = request.arguments.first, !program.isEmpty else {
            throw GuestFailure(.badMessage, "a command needs a program")
        }
        let configuration = root.configuration
        let accounts = Accounts(
            passwd: SmallFiles.read("/etc/passwd", in: root.descriptor) ?? [],
            group: SmallFiles.read("/etc/group", in: root.descriptor) ?? [])
        let identity = try accounts.identity(request.user ?? configuration.user)
        let environment = CommandEnvironment.merged(
            [configuration.environment, request.environment], home: identity.home,
            hasTerminal: request.terminal != nil)
        let directory = request.workingDirectory ?? configuration.workingDirectory
        let process = Process(
            arguments: request.arguments, environment: environment, directory: directory.isEmpty ? "/" : directory,
            identity: identity)
        do throws(SystemError) {
            if let size = request.terminal { return try terminalJob(process, size: size, id: id) }
            return try pipedJob(process, hasInput: request.hasInput, id: id)
        } catch {
            throw error.failure(error.errno == EAGAIN || error.errno == ENOMEM ? .busy : .system)
        }
    }

    private struct Process {
        let arguments: [String]
        let environment: [String]
        let directory: String
        let identity: Identity
    }

    private func pipedJob(_ process: Process, hasInput: Bool, id: UInt32) throws(SystemError) -> Job {
        let output = try Pipe(reads: true)
        let errors = try Pipe(reads: true)
        let report = try Pipe(reads: true)
        let input = hasInput ? try Pipe(reads: false) : nil
        let fds = [input?.there.raw ?? -1, output.there.raw, errors.there.raw]
        let pid = try start(process, fds: fds, isTerminal: false, report: report.there)
        return Job(
            id: id, kind: .command(program: process.arguments.first ?? ""), pid: pid, report: report.here,
            input: input?.here,
            outputs: [
                Job.Output(channel: .output, descriptor: output.here),
                Job.Output(channel: .errors, descriptor: errors.here),
            ])
    }

    private func terminalJob(_ process: Process, size: TerminalSize, id: UInt32) throws(SystemError) -> Job {
        var ends: [Int32] = [-1, -1]
        try SystemError.check(cguest_terminal(root.descriptor.raw, &ends), "make a terminal below /dev/pts")
        let (here, there) = (Descriptor(ends[0]), Descriptor(ends[1]))
        cguest_terminal_size(here.raw, UInt32(size.rows), UInt32(size.columns))
        // Its user may open it by its name.
        _ = fchown(there.raw, process.identity.uid, .max)
        let report = try Pipe(reads: true)
        let pid = try start(
            process, fds: [there.raw, there.raw, there.raw], isTerminal: true, report: report.there)
        return Job(
            id: id, kind: .command(program: process.arguments.first ?? ""), pid: pid, report: report.here, input: here,
            outputs: [Job.Output(channel: .output, descriptor: here)], terminal: here)
    }

    private func start(
        _ process: Process, fds: [Int32], isTerminal: Bool, report: Descriptor
    ) throws(SystemError) -> Int32 {
        let pid = withCStrings(process.arguments) { arguments in
            withCStrings(process.environment) { environment in
                process.identity.groups.withUnsafeBufferPointer { groups in
                    process.directory.withCString { directory in
                        var command = cguest_command(
                            root: root.descriptor.raw, directory: directory, arguments: arguments,
                            environment: environment, uid: process.identity.uid, gid: process.identity.gid,
                            groups: groups.baseAddress, group_count: Int32(groups.count),
                            cgroup: root.cgroup?.raw ?? -1, fds: (fds[0], fds[1], fds[2]),
                            is_terminal: isTerminal ? 1 : 0)
                        return cguest_start(&command, report.raw)
                    }
                }
            }
        }
        return try SystemError.check(pid, "start a process")
    }

    func write(_ path: String, mode: UInt16, id: UInt32) throws(SystemError) -> Job {
        let input = try Pipe(reads: false)
        let report = try Pipe(reads: true)
        let pid = cguest_start_writing(root.descriptor.raw, path, UInt32(mode), input.there.raw, report.there.raw)
        return Job(
            id: id, kind: .write(path: path), pid: try SystemError.check(pid, "start a process"), report: report.here,
            input: input.here, outputs: [])
    }

    func read(_ path: String, limit: UInt64, id: UInt32) throws(SystemError) -> Job {
        let output = try Pipe(reads: true)
        let report = try Pipe(reads: true)
        let pid = cguest_start_reading(root.descriptor.raw, path, limit, output.there.raw, report.there.raw)
        return Job(
            id: id, kind: .read(path: path), pid: try SystemError.check(pid, "start a process"), report: report.here,
            input: nil, outputs: [Job.Output(channel: .output, descriptor: output.here)])
    }

    func sync(id: UInt32) throws(SystemError) -> Job {
        let report = try Pipe(reads: true)
        let pid = cguest_start_syncing(root.descriptor.raw, report.there.raw)
        return Job(
            id: id, kind: .sync, pid: try SystemError.check(pid, "start a process"), report: report.here, input: nil,
            outputs: [])
    }
}

/// A NULL-terminated array of C strings, for as long as `body` runs.
private func withCStrings<Result>(
    _ texts: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result
) -> Result {
    let copies = texts.map { strdup($0) }
    defer { for copy in copies { free(copy) } }
    return (copies + [nil]).withUnsafeBufferPointer { pointers in
        guard let base = pointers.baseAddress else { preconditionFailure("an array with an element has an address") }
        return body(base)
    }
}
