import ArgumentParser
import Files
import Glibc
import GuestProtocol
import Sandbox
import SnapshotSteps

struct BootCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "boot",
        abstract: "Boots a snapshot in a throw-away virtual machine and runs a command in it.",
        discussion: """
            Without a command: what the image starts, its entrypoint and command. The snapshot stays as it is: what the \
            machine writes goes with it. Standard output and standard error stay apart, and the command's exit code is this \
            program's. The machine reaches what this host reaches; 10.0.2.2 in it is this host.
            """)

    @Argument(help: "A snapshot: its name, its id or a prefix of it, or @last.", completion: .snapshots)
    var snapshot: String

    @Argument(parsing: .postTerminator, help: "The command and its arguments, behind --.")
    var command: [String] = []

    @Option(help: "The size of the machine's disk, such as 20GiB. Default: the snapshot and 4 GiB more.")
    var disk: String?

    @Option(help: "Memory of the machine, such as 2GiB. Default: 512MiB.")
    var memory: String?

    @Option(help: "Processors of the machine. Default: 1.")
    var vcpus: Int?

    @Option(
        name: [.customLong("env"), .customShort("e")],
        help: "A variable for the command, as NAME=VALUE. May be repeated.")
    var variables: [LabelArgument] = []

    @Option(help: "Who runs the command, as user, uid, user:group or uid:gid. Default: the image's user.")
    var user: String?

    @Option(name: .shortAndLong, help: "Where the command begins. Default: the image's working directory.")
    var workdir: String?

    @Flag(name: .shortAndLong, help: "Give the command this program's standard input.")
    var interactive = false

    @Flag(name: .shortAndLong, help: "Give the command a terminal; with -i this program's.")
    var tty = false

    @Flag(help: "Keep the machine from every network.")
    var noNetwork = false

    @Option(
        help:
            "The machine's kernel, with its modules in lib/modules beside it. Default: SNAPWF_KERNEL, else this host's newest."
    )
    var kernel: String?

    @Option(help: "End the machine after so long.")
    var timeout: Span?

    @Flag(help: "Print the end of the machine's console when the command is over.")
    var console = false

    @OptionGroup var stored: StoreOptions

    @OptionGroup var options: GlobalOptions

    func validate() throws {
        guard vcpus.map({ (1...64).contains($0) }) ?? true else {
            throw ValidationError("--vcpus must be from 1 to 64.")
        }
        if tty, !interactive { throw ValidationError("-t needs -i: write -it.") }
    }

    @MainActor
    func run() async throws {
        let reporter = RunReporter(options: options, progress: .none)
        try await reporter.reportingErrors {
            let session = try await Session.open(options, stored)
            let code: Int32
            do {
                code = try await boot(session, reporter)
            } catch {
                await session.close()
                throw error
            }
            await session.close()
            if code != 0 { throw Exit(code: code) }
        }
    }

    @MainActor
    private func boot(_ session: Session, _ reporter: RunReporter) async throws -> Int32 {
        let (catalog, found) = try await SharedRecords.findOrFetch(snapshot, reporter)
        let use = try await catalog.use(found, for: "boot")
        defer { use.end() }
        try use.snapshot.requireBootable()
        if tty, RawTerminal.size == nil {
            throw SnapshotError(.usage, "-t needs a terminal as standard input; leave it out: -i")
        }
        let process = try ImageProcess(config: use.snapshot.config)
        let words = command.isEmpty ? process.entrypoint + process.command : command
        guard !words.isEmpty else {
            throw SnapshotError(
                .usage, "the image says no command: name one: snapwf boot \(snapshot) -- /bin/sh -c 'uname -a'")
        }
        var provider = session.machines
        if let kernel {
            let path = Places.absolutePath(kernel)
            guard access(path, R_OK) == 0 else {
                throw SnapshotError(.usage, "--kernel \(path) cannot be read: \(String(cString: strerror(errno)))")
            }
            provider = provider.with(kernel: path)
        }
        try await provider.check()
        let booted = Booted()
        let machine = BootedMachine(
            provider: provider, showsConsole: console,
            onBoot: { info, duration in
                for note in info.notes { reporter.note(note, always: false) }
                if options.verbose { reporter.note("machine \(info.id) came up in \(spanText(duration))") }
                booted.document = BootDocument(
                    snapshot: use.snapshot.id, accelerator: info.notes.isEmpty ? "kvm" : "tcg",
                    bootMilliseconds: Int(duration / .milliseconds(1)))
            })
        let code = try await machine.run(
            try request(words), isInteractive: interactive, in: try spec(use),
            timeout: timeout.map { .seconds($0.seconds) })
        if options.json, var document = booted.document {
            document.exitCode = code
            try deliver(JSONText.line(document))
        }
        return code
    }

    @MainActor
    private final class Booted {
        var document: BootDocument?
    }

    private func spec(_ use: SnapshotUse) throws -> SandboxSpec {
        var spec = SandboxSpec(
            name: "boot-\(use.snapshot.names.first ?? use.snapshot.id)", vcpus: vcpus,
            memoryBytes: try byteCount(memory, "--memory"), diskBytes: try byteCount(disk, "--disk"),
            timeToLive: BootedMachine.startingTimeToLive,
            snapshot: try SnapshotRoot(use.snapshot, useLock: use.lockPath))
        spec.hasNetwork = !noNetwork
        return spec
    }

    private func request(_ words: [String]) throws -> CommandRequest {
        CommandRequest(
            words, environment: environment(), workingDirectory: workdir, user: user,
            terminal: tty ? RawTerminal.size ?? TerminalSize(rows: 24, columns: 80) : nil)
    }

    private func environment() -> [String] {
        let given = variables.map { "\($0.name)=\($0.value)" }
        guard tty, let kind = getenv("TERM") else { return given }
        return ["TERM=" + String(cString: kind)] + given
    }
}

/// `snapwf boot --json`: a line behind what the command said.
struct BootDocument: Encodable {
    let schema = 1
    let snapshot: String
    /// `kvm` or `tcg`, which emulates.
    let accelerator: String
    /// From the start to the agent's answer.
    let bootMilliseconds: Int
    var exitCode: Int32 = 0
}
