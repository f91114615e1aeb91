import Files
import FoundationEssentials
import Glibc
import HelperInterface
import SnapshotSteps
import Workflow

/// `--detach`: the same command again, as a process of its own without this terminal, which tells its runs' ids through
/// a pipe as soon as they are on disk.
///
/// Killed before an id was told: the process in the background goes on, and `snapwf ls` shows its run. What it says is
/// in a file in the state directory, which `snapwf gc` removes with the records of old runs.
enum Detachment {
    /// Names the descriptor that ids are told through.
    static let variable = "SNAPWF_DETACHED_FD"
    private static let descriptor: Int32 = 3
    /// POSIX_SPAWN_SETSID of spawn.h, which Swift does not see.
    private static let setsid: Int16 = 0x80
    /// How long a run may take to be on disk: registries are asked before.
    private static let patience: Double = 600

    /// - Parameter place: told by the environment, as arguments are seen by everybody on this machine.
    /// - Returns: the ids, and where the process's words are.
    /// - Throws: `Exit` with the process's own code when it ended before; what it said has been told then.
    static func start(in state: StateDirectory, _ place: RunsPlace) throws -> (runs: [String], log: String) {
        let arguments = words(CommandLine.arguments)
        let directory = state.detachedLogs
        try makeDirectories(directory, mode: 0o700)
        let log = directory + "/\(Int64(Date().timeIntervalSince1970 * 1000))-\(getpid()).log"
        var pipe: [Int32] = [-1, -1]
        guard Glibc.pipe(&pipe) == 0 else { throw failed("make a pipe") }
        for end in pipe { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        defer { close(pipe[0]) }
        let child: pid_t
        do {
            defer { close(pipe[1]) }
            child = try spawn(arguments, place, log: log, pipe: pipe[1])
        }
        let runs = try read(pipe[0]).split(separator: "\n").map(String.init)
        guard runs.isEmpty else { return (runs, log) }
        var status: Int32 = 0
        while waitpid(child, &status, 0) < 0, errno == EINTR {}
        let words = (try? readFile(log, limit: 1 << 20)).flatMap { $0 } ?? []
        say(String(decoding: words, as: UTF8.self), to: 2)
        unlink(log)
        throw Exit(code: status & 0x7F == 0 ? (status >> 8) & 0xFF : 1)
    }

    /// Prints the ids on standard output, for a person or a program.
    static func tell(_ runs: [String], log: String, _ options: GlobalOptions) throws {
        if options.json { return try deliver(JSONText.document(DetachedDocument(runs: runs, log: log))) }
        for run in runs { try deliver(run + "\n") }
    }

    /// The words of this command that the one in the background is started with.
    static func words(_ arguments: [String]) -> [String] {
        var words: [String] = []
        var isPlace = false
        for word in arguments {
            if isPlace {
                isPlace = false
            } else if word == "--store" {
                isPlace = true
            } else if word != "--detach", !word.hasPrefix("--store=") {
                words.append(word)
            }
        }
        return words
    }

    private static func spawn(_ arguments: [String], _ place: RunsPlace, log: String, pipe: Int32) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        posix_spawn_file_actions_adddup2(&actions, pipe, descriptor)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // A session of its own: the terminal's end is nothing to it.
        posix_spawnattr_setflags(&attributes, setsid)
        var environment = ProcessInfo.processInfo.environment
        environment[variable] = "\(descriptor)"
        if !place.isOwn { environment[RunsPlace.variable] = place.text }
        let words: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
        let variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0.key)=\($0.value)") } + [nil]
        defer { for text in words + variables { free(text) } }
        var child = pid_t()
        let code = posix_spawn(&child, try Places.executable(), &actions, &attributes, words, variables)
        guard code == 0 else { throw failed("start itself", code) }
        return child
    }

    /// What comes through the pipe until its other end is closed.
    private static func read(_ descriptor: Int32) throws -> String {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        let end = Date().addingTimeInterval(patience)
        while bytes.count < 64 << 10 {
            var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let left = end.timeIntervalSinceNow
            guard left > 0 else {
                throw SnapshotError(.unavailable, "the run in the background is not on disk yet; look: snapwf ls")
            }
            guard Glibc.poll(&poll, 1, Int32(min(left, 60) * 1000)) != 0 else { continue }
            let count = Glibc.read(descriptor, &buffer, buffer.count)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { break }
            bytes += buffer[..<count]
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// In the process in the background, before it opens anything: what else it was born with belongs to whoever started
    /// the command, who may wait until it is closed.
    static func closeWhatIsInherited() {
        guard getenv(variable) != nil, let entries = try? directoryNames("/proc/self/fd") else { return }
        for descriptor in entries.compactMap({ Int32($0) }) where descriptor > Self.descriptor { close(descriptor) }
    }

    private static func failed(_ what: String, _ code: Int32 = errno) -> SnapshotError {
        SnapshotError(.failed, "cannot \(what) for --detach: \(String(cString: strerror(code)))")
    }
}

/// `snapwf run --detach --json`, `snapwf resume --detach --json`
struct DetachedDocument: Encodable {
    let schema = 1
    let runs: [String]
    /// Where the process in the background writes what it says.
    let log: String
}

/// Tells whoever detached this process the ids of its runs; nil in a process that nobody detached.
@MainActor
final class DetachedAnnouncer {
    private let descriptor: Int32
    private let expected: Int
    private var settled: Set<Int> = []

    /// - Parameter expected: how many runs begin at once; those that have to wait are not waited for.
    init?(expecting expected: Int) {
        guard let text = getenv(Detachment.variable), let descriptor = Int32(String(cString: text)), descriptor > 2
        else {
            return nil
        }
        // Nothing that this process starts is to keep the pipe open or to take itself for detached.
        unsetenv(Detachment.variable)
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        self.descriptor = descriptor
        self.expected = expected
    }

    /// A run is on disk, or (nil) over without having been.
    func settle(_ index: Int, _ run: RunID?) {
        guard settled.count < expected, settled.insert(index).inserted else { return }
        if let run { say("\(run)\n", to: descriptor) }
        if settled.count == expected { close(descriptor) }
    }
}
