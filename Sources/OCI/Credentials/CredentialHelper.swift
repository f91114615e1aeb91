internal import Files
internal import FoundationEssentials
internal import Glibc

/// A program `docker-credential-NAME` that keeps secrets for docker.
///
/// Protocol: docker-credential-helpers project. `get` reads the registry's key from its input and prints
/// `{"ServerURL": …, "Username": …, "Secret": …}`; the user `<token>` means that the secret is an identity token.
struct CredentialHelper: Sendable {
    private static let outputLimit = 64 << 10

    let name: String
    let environment: [String: String]
    /// The program is killed after that.
    var limit: Duration = .seconds(60)

    private struct Answer: Decodable {
        var username: String
        var secret: String

        enum CodingKeys: String, CodingKey {
            case username = "Username"
            case secret = "Secret"
        }
    }

    private var program: String { "docker-credential-\(printable(name, limit: 60))" }

    /// The credentials under `key`; nil when the program has none.
    func credentials(forKey key: String) async throws(OCIError) -> Credentials? {
        let (status, output) = try await onOwnThread { () throws(OCIError) -> (Int32, [UInt8]) in
            let path = try executable()
            let run = try HelperProcess(path: path, argument: "get", environment: environment)
            return try run.finish(
                input: Array(key.utf8), outputLimit: Self.outputLimit, deadline: .now + limit, name: program)
        }
        guard status == 0 else {
            let said = String(decoding: output, as: UTF8.self)
            if said.contains("credentials not found") { return nil }
            throw OCIError(
                .invalidConfiguration,
                "the credential helper \(program) failed with status \(status) for \(printable(key)): "
                    + "try it with: echo \(printable(key)) | \(program) get")
        }
        let answer: Answer
        do {
            answer = try JSONDecoder().decode(Answer.self, from: Data(output))
        } catch {
            // The decoder's words could repeat the secret.
            throw OCIError(
                .invalidConfiguration, "the credential helper \(program) answered something that is no credentials")
        }
        if answer.secret.isEmpty { return nil }
        return answer.username == "<token>"
            ? Credentials(.identityToken(answer.secret))
            : Credentials(username: answer.username, password: answer.secret)
    }

    private func executable() throws(OCIError) -> String {
        let isPlain = name.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0)
                || "-_.".utf8.contains($0)
        }
        if isPlain {
            for directory in (environment["PATH"] ?? "").split(separator: ":") {
                let path = "\(directory)/docker-credential-\(name)"
                if access(path, X_OK) == 0 { return path }
            }
        }
        throw OCIError(
            .invalidConfiguration,
            "the docker configuration names the credential helper \(program), which is not in the PATH: install it, "
                + "or give a credentials file")
    }
}

/// A child process with a socket as its input and output. Blocking.
private struct HelperProcess: ~Copyable {
    private let process: pid_t
    private let socket: Int32

    init(path: String, argument: String, environment: [String: String]) throws(OCIError) {
        var sockets: [Int32] = [-1, -1]
        // A socket rather than two pipes: writing to a child that has gone must not raise SIGPIPE.
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &sockets) == 0 else {
            throw OCIError(.ioFailure, "no socket for \(printable(path)): \(describe(errno: errno))")
        }
        var actions = posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
            Glibc.close(sockets[1])
        }
        posix_spawn_file_actions_adddup2(&actions, sockets[1], 0)
        posix_spawn_file_actions_adddup2(&actions, sockets[1], 1)
        posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
        // Threads may block signals that a child relies on, SIGCHLD for a shell that waits.
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        var arguments: [UnsafeMutablePointer<CChar>?] = [strdup(path), strdup(argument), nil]
        var variables: [UnsafeMutablePointer<CChar>?] = environment.map { strdup("\($0)=\($1)") } + [nil]
        defer { for pointer in arguments + variables { free(pointer) } }
        var process = pid_t()
        let failure = posix_spawn(&process, path, &actions, &attributes, &arguments, &variables)
        guard failure == 0 else {
            Glibc.close(sockets[0])
            throw OCIError(.ioFailure, "\(printable(path)) cannot be started: \(describe(errno: failure))")
        }
        self.process = process
        socket = sockets[0]
    }

    deinit { Glibc.close(socket) }

    /// Gives the child its input, takes its output and waits for its end; kills it when that does not come in time.
    consuming func finish(
        input: [UInt8], outputLimit: Int, deadline: ContinuousClock.Instant, name: String
    ) throws(OCIError) -> (status: Int32, output: [UInt8]) {
        // Keys are short; they fit into the socket's buffer whole. A child that does not want them will say so itself.
        _ = input.withUnsafeBytes { send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        shutdown(socket, Int32(SHUT_WR))
        var output: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 4096)
        var ended = false
        while !ended, output.count <= outputLimit, ContinuousClock.now < deadline {
            var waiting = pollfd(fd: socket, events: Int16(POLLIN), revents: 0)
            guard poll(&waiting, 1, 100) > 0 else { continue }
            let count = recv(socket, &piece, piece.count, 0)
            if count > 0 { output += piece[..<count] }
            ended = count == 0 || (count < 0 && errno != EINTR)
        }
        var status: Int32 = 0
        while ended, ContinuousClock.now < deadline {
            if waitpid(process, &status, WNOHANG) == process {
                // An exit by a signal has its number in the low bits; that is a failure too.
                return (status & 0x7f == 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f), output)
            }
            usleep(2000)
        }
        kill(process, SIGKILL)
        _ = retryingInterrupts { waitpid(process, &status, 0) }
        throw OCIError(.timedOut, "the credential helper \(name) did not answer in time, or too much: it was killed")
    }
}
