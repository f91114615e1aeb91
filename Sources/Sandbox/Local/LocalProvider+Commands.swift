import CLinux
import Files
import Glibc

extension LocalProvider {
    package func run(_ command: ShortCommand, in id: SandboxID) async throws -> CommandOutput {
        try await onOwnThread(cancellable: { cancel in
            let input = try CommandInput(.bytes(command.standardInput ?? []))
            return try runBlocking(command, input: input, in: id, cancel: cancel)
        })
    }

    package func stream(
        _ command: StreamedCommand, in id: SandboxID, onProgress: (CommandProgress) async throws -> Void
    ) async throws -> Int32 {
        defer { command.input?.close() }
        let exchange = try CommandExchange()
        command.input?.open { exchange.ring() }
        return try await withTaskCancellationHandler {
            async let exitCode = onOwnThread {
                defer { exchange.end() }
                return try streamBlocking(command, in: id, exchange)
            }
            do {
                while let progress = await exchange.next() { try await onProgress(progress) }
            } catch {
                exchange.cancel()
                while await exchange.next() != nil {}
                throw error
            }
            return try await exitCode
        } onCancel: {
            exchange.cancel()
        }
    }

    private func streamBlocking(
        _ command: StreamedCommand, in id: SandboxID, _ exchange: CommandExchange
    ) throws -> Int32 {
        // Neither the deadline nor the limit is looked at.
        let plain = ShortCommand(
            command.arguments, environment: command.environment, workingDirectory: command.workingDirectory)
        let started = try start(plain, in: id)
        let initProcess = started.initProcess
        let result = try CommandLoop(
            started.run, input: CommandInput(command.input), watch: exchange, sink: .pass(exchange)
        ).finish(deadline: nil)
        return try judge(result, command: plain, id: id, initProcess: initProcess).exitCode
    }

    func runBlocking(
        _ command: ShortCommand, input: consuming CommandInput, in id: SandboxID, cancel: CancelSignal
    ) throws -> CommandOutput {
        let started = try start(command, in: id)
        let initProcess = started.initProcess
        let result = try CommandLoop(
            started.run, input: input, watch: cancel, sink: .gather(limit: command.outputLimit)
        ).finish(deadline: command.deadline)
        return try judge(result, command: command, id: id, initProcess: initProcess)
    }

    /// Runs bwrap once more, with the same binds, inside the user and pid namespaces of the sandbox's init: no
    /// privilege is needed for it, and none is left over.
    private func start(
        _ command: ShortCommand, in id: SandboxID
    ) throws(SandboxError) -> StartedCommand {
        try command.validate()
        let directory = try sandboxes.directory(of: id)
        let sight = try sandboxes.requireAlive(id, directory)
        guard case .running = sight.info.state, let initProcess = sight.record?.initProcess else {
            throw SandboxError(.unavailable, "sandbox \(id) is still starting; try again")
        }
        let bubblewrap = try Bubblewrap.locate(configuration.bubblewrap)
        let run = try start(
            command, bubblewrap: bubblewrap, world: Bubblewrap(directory: directory, inputs: sight.spec.inputs),
            initProcess: initProcess, id: id
        )
        return StartedCommand(run: run, initProcess: initProcess)
    }

    private func start(
        _ command: ShortCommand, bubblewrap: String, world: Bubblewrap, initProcess: ProcessIdentity, id: SandboxID
    ) throws(SandboxError) -> RunningCommand {
        let namespaces = try Namespaces(of: initProcess, id: id)
        let options = try Bubblewrap.optionFile(
            world.commandOptions(
                command, namespaces: namespaces.options(first: 6), statusDescriptor: 4, gateDescriptor: 5)
        )
        let input = try Pipe()
        let output = try Pipe()
        let errors = try Pipe()
        let status = try Pipe()
        let gate = try Pipe()
        let pid = try ChildProcess.start(
            bubblewrap, ["--args", "3", "--"] + command.arguments,
            descriptors: [
                input.read.raw, output.write.raw, errors.write.raw, options.raw, status.write.raw, gate.read.raw,
            ]
                + namespaces.descriptors
        )
        let process = clinux_pidfd_open(pid)
        guard process >= 0 else { throw .system(-process, "open process \(pid)") }
        return RunningCommand(
            pid: pid, process: Descriptor(process), input: input.writeEnd(), output: output.readEnd(),
            errors: errors.readEnd(), status: status.readEnd(), gate: gate.writeEnd()
        )
    }

    private func judge(
        _ result: CommandResult, command: ShortCommand, id: SandboxID, initProcess: ProcessIdentity
    ) throws -> CommandOutput {
        let program = command.arguments[0]
        switch result.end {
        case .cancelled:
            throw CancellationError()
        case .timedOut:
            throw SandboxError(
                .commandTimedOut, "\(program) in sandbox \(id) did not end within \(command.deadline) and was killed"
            )
        case .tooMuchOutput:
            throw SandboxError(
                .outputTooLarge, "\(program) in sandbox \(id) wrote more than \(command.outputLimit) bytes"
            )
        case .exited(let code):
            // A command that was killed may have been killed with its sandbox.
            if code == 128 + SIGKILL { try requireInit(initProcess, id) }
            return CommandOutput(exitCode: code, standardOutput: result.output, standardError: result.errors)
        case .neverStarted:
            try requireInit(initProcess, id)
            let text = String(decoding: result.errors, as: UTF8.self).trimmed
            if text.contains("execvp") {
                throw SandboxError(.missingTool, "there is no program \(program) in sandbox \(id) (\(text))")
            }
            if let directory = command.workingDirectory, text.contains("chdir to \(directory)") {
                throw SandboxError(.invalidArgument, "no command can start in \(directory) of sandbox \(id) (\(text))")
            }
            throw SandboxError(.unavailable, "cannot run \(program) in sandbox \(id): \(text)")
        }
    }

    private func requireInit(_ initProcess: ProcessIdentity, _ id: SandboxID) throws(SandboxError) {
        if try initProcess.isEnding() {
            throw SandboxError(.ended, "sandbox \(id) ended while a command ran in it; create another")
        }
    }
}

private struct StartedCommand: ~Copyable {
    let run: RunningCommand
    let initProcess: ProcessIdentity
}

/// The namespaces of a sandbox, as bwrap wants them.
///
/// bwrap leaves the descriptors open in the command. They are worth nothing there: to enter a namespace takes
/// privileges in it, and the command has none, neither in its own user namespace nor in one above.
private struct Namespaces: ~Copyable {
    private let pidNamespace: Descriptor
    /// Owns the pid namespace. bwrap is briefly privileged in it; None when that is our own (root without a user
    /// namespace).
    private let owner: Descriptor
    /// Where the init lives; below `owner` for an ordinary user, since mounting devpts needs a root to be mapped.
    private let user: Descriptor

    init(of initProcess: ProcessIdentity, id: SandboxID) throws(SandboxError) {
        let pidNamespace = try Descriptor.openIfThere("/proc/\(initProcess.pid)/ns/pid", O_RDONLY)
        let user = try Descriptor.openIfThere("/proc/\(initProcess.pid)/ns/user", O_RDONLY)
        // Checked after they were opened: then they are of that process and of no later one with its pid.
        guard let pidNamespace, let user, try ProcessIdentity(of: initProcess.pid) == initProcess else {
            throw SandboxError(.ended, "sandbox \(id) is over: its init is gone; create another")
        }
        let owner = clinux_owning_user_namespace(pidNamespace.raw)
        guard owner >= 0 else { throw .system(-owner, "find the namespaces of sandbox \(id)") }
        let owning = Descriptor(owner)
        let mine = try Descriptor.open("/proc/self/ns/user", O_RDONLY)
        let isMine = Self.inode(owning) == Self.inode(mine)
        let isSame = Self.inode(owning) == Self.inode(user)
        self.pidNamespace = pidNamespace
        self.owner = isMine ? .none : consume owning
        self.user = isMine || isSame ? .none : consume user
    }

    var descriptors: [Int32] {
        [pidNamespace.raw, owner.raw, user.raw].filter { $0 >= 0 }
    }

    /// - Parameter first: the number that the first of ``descriptors`` has in the child.
    func options(first: Int) -> [String] {
        var list = ["--pidns", "\(first)"]
        if owner.raw >= 0 { list += ["--userns", "\(first + 1)"] }
        if user.raw >= 0 { list += ["--userns2", "\(first + 2)"] }
        return list
    }

    private static func inode(_ descriptor: borrowing Descriptor) -> UInt {
        var status = stat()
        return fstat(descriptor.raw, &status) == 0 ? UInt(status.st_ino) : 0
    }
}
