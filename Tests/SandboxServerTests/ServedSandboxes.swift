import Connect
import Files
import Foundation
import Logging
import Sandbox
import SandboxAPI
import SandboxServer
import Synchronization
import SwiftProtobuf
import Testing

/// Local sandboxes behind a server on a unix socket, and a client of it; nothing is left of them.
final class ServedSandboxes: Sendable {
    /// Holds the socket and the sandboxes.
    let directory: String
    let provider: LocalProvider
    let snapshots: (any SnapshotStore)?
    /// What is served.
    private let served: any SandboxProvider
    private let logger: Logger
    private let running = Mutex<Running?>(nil)

    private struct Running {
        let address: ServerAddress
        let task: Task<Void, any Error>
        let stop: AsyncStream<Void>.Continuation
        let client: ConnectClient
    }

    var socket: String { directory + "/api.sock" }

    /// The program that the package builds beside the tests.
    static let shimProgram: String = {
        let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        return program.deletingLastPathComponent().path + "/SandboxShimHost"
    }()

    private init(
        _ directory: String, snapshots: (any SnapshotStore)?, wrap: (LocalProvider) -> any SandboxProvider,
        logger: Logger
    ) {
        self.logger = logger
        self.directory = directory
        self.snapshots = snapshots
        provider = LocalProvider(
            configuration: .init(root: directory + "/sandboxes", shimCommand: [Self.shimProgram, "sandbox-shim"]))
        served = wrap(provider)
    }

    static func with(
        snapshots: (any SnapshotStore)? = nil, wrap: (LocalProvider) -> any SandboxProvider = { $0 },
        logger: Logger = quietLogger, _ body: (ServedSandboxes) async throws -> Void
    ) async throws {
        // Short: a socket's path has at most 107 bytes.
        let directory = "/tmp/snapwf-serve-\(UUID().uuidString.prefix(8))"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
        let served = ServedSandboxes(directory, snapshots: snapshots, wrap: wrap, logger: logger)
        var failure: (any Error)?
        do {
            try await served.start()
            try await body(served)
        } catch {
            failure = error
        }
        do {
            try await served.stop()
            for info in try await served.provider.list() { try await served.provider.kill(info.id) }
            try await served.provider.sweep()
            try await onOwnThread { try removeTree(directory) }
        } catch {
            Issue.record("cleaning up: \(error)")
        }
        if let failure { throw failure }
    }

    /// Runs a test in a sandbox of its own.
    static func withSandbox(
        wrap: (LocalProvider) -> any SandboxProvider = { $0 },
        _ body: (ServedSandboxes, SandboxRef) async throws -> Void
    ) async throws {
        try await with(wrap: wrap) { served in
            let sandbox = try await served.create()
            try await body(served, sandbox)
        }
    }

    // MARK: The server

    func start() async throws {
        let running = try await launch(SandboxServerConfiguration(address: .unix(path: socket)))
        self.running.withLock { $0 = running }
    }

    private func launch(_ configuration: SandboxServerConfiguration) async throws -> Running {
        var configuration = configuration
        configuration.grace = .seconds(2)
        let service = SandboxService(provider: served, snapshots: snapshots, logger: logger)
        let server = try SandboxServer(configuration, service: service, logger: logger)
        let (stops, stop) = AsyncStream<Void>.makeStream()
        let (starts, started) = AsyncStream<ServerAddress>.makeStream()
        let task = Task {
            defer { started.finish() }
            try await server.run(onRunning: { started.yield($0) }, until: { for await _ in stops {} })
        }
        var iterator = starts.makeAsyncIterator()
        guard let address = await iterator.next() else {
            // It could not listen, and says why.
            try await task.value
            throw ConnectError(.internal, "the server ended before it ran")
        }
        let client = try ConnectClient(ConnectClientConfiguration(address: address))
        return Running(address: address, task: task, stop: stop, client: client)
    }

    /// Serves the same sandboxes somewhere else, too.
    func serve(_ configuration: SandboxServerConfiguration, _ body: (ServerAddress) async throws -> Void) async throws {
        let second = try await launch(configuration)
        var failure: (any Error)?
        do { try await body(second.address) } catch { failure = error }
        await second.client.shutdown()
        second.stop.finish()
        try await second.task.value
        if let failure { throw failure }
    }

    func stop() async throws {
        guard let running = running.withLock({ $0.take() }) else { return }
        await running.client.shutdown()
        running.stop.finish()
        try await running.task.value
    }

    var client: ConnectClient {
        get throws { try #require(running.withLock { $0?.client }) }
    }

    static let quietLogger: Logger = {
        var logger = Logger(label: "serve")
        logger.logLevel = .error
        return logger
    }()

    // MARK: Calls

    func call<Request: Message, Response: Message>(
        _ method: Method<Request, Response>, _ fill: (inout Request) -> Void
    ) async throws -> Response {
        var request = Request()
        fill(&request)
        return try await client.unary(method, request)
    }

    func create(_ fill: (inout CreateSandboxRequest) -> Void = { _ in }) async throws -> SandboxRef {
        let made = try await call(SandboxMethods.createSandbox, fill)
        return .id(made.sandbox.sandboxID)
    }

    /// A command's events, put together.
    struct Ran: Sendable {
        var events: [CommandEvent] = []
        var output: [UInt8] { events.flatMap { Array($0.stdout.data) } }
        var errors: [UInt8] { events.flatMap { Array($0.stderr.data) } }
        var text: String { String(decoding: output, as: UTF8.self) }
        var exitCode: Int32? {
            if case .finished(let finished)? = events.last?.event { finished.exitCode } else { nil }
        }
    }

    func run(
        _ arguments: [String], in sandbox: SandboxRef, _ fill: (inout RunCommandRequest) -> Void = { _ in }
    ) async throws -> Ran {
        var request = RunCommandRequest()
        request.sandbox = sandbox
        request.cmd = arguments[0]
        request.args = Array(arguments.dropFirst())
        fill(&request)
        return try await client.serverStream(SandboxMethods.runCommand, request) { stream in
            var ran = Ran()
            while let event = try await stream.next() { ran.events.append(event) }
            return ran
        }
    }

    func shell(_ script: String, _ arguments: [String] = [], in sandbox: SandboxRef) async throws -> Ran {
        try await run(["/bin/sh", "-c", script, "sh"] + arguments, in: sandbox)
    }

    func write(
        _ path: String, _ bytes: [UInt8], in sandbox: SandboxRef,
        _ fill: (inout WriteFileRequest.Init) -> Void = { _ in }
    ) async throws -> Int64 {
        var target = WriteFileRequest.Init()
        target.sandbox = sandbox
        target.path = path
        fill(&target)
        return try await client.clientStream(SandboxMethods.writeFile) { sink in
            try await sink.send(WriteFileRequest.with { $0.init_p = target })
            for start in stride(from: 0, to: bytes.count, by: 1 << 20) {
                let piece = Data(bytes[start..<min(start + (1 << 20), bytes.count)])
                try await sink.send(WriteFileRequest.with { $0.data = piece })
            }
        }.bytesWritten
    }

    func read(_ path: String, in sandbox: SandboxRef) async throws -> [UInt8] {
        let request = ReadFileRequest.with {
            $0.sandbox = sandbox
            $0.path = path
        }
        return try await client.serverStream(SandboxMethods.readFile, request) { stream in
            var bytes: [UInt8] = []
            var hasEnd = false
            while let message = try await stream.next() {
                #expect(!hasEnd, "a message after the last")
                bytes += message.data
                hasEnd = message.eof
            }
            #expect(hasEnd)
            return bytes
        }
    }
}

extension SandboxRef {
    static func id(_ id: String) -> SandboxRef { SandboxRef.with { $0.id = id } }
}

/// The error, of one of these codes, that a call must end with.
@discardableResult
func expectError(
    _ codes: ConnectError.Code..., sourceLocation: SourceLocation = #_sourceLocation,
    _ call: () async throws -> some Any
) async -> ConnectError? {
    do {
        _ = try await call()
        Issue.record("nothing was thrown; expected \(codes)", sourceLocation: sourceLocation)
    } catch let error as ConnectError {
        #expect(codes.contains(error.code), "\(error)", sourceLocation: sourceLocation)
        return error
    } catch {
        Issue.record("\(error) was thrown; expected \(codes)", sourceLocation: sourceLocation)
    }
    return nil
}

extension ConnectError {
    /// What a file call attached.
    var fileDetail: FileSystemErrorDetail? {
        guard let detail = details.first(where: { $0.type == FileSystemErrorDetail.protoMessageName }) else {
            return nil
        }
        return try? FileSystemErrorDetail(serializedBytes: detail.value)
    }
}

/// Waits for something that must come; a test that waits in vain fails.
func eventually(
    _ what: Comment, within patience: Duration = .seconds(30), sourceLocation: SourceLocation = #_sourceLocation,
    _ condition: () async throws -> Bool
) async throws {
    let end = ContinuousClock.now + patience
    while ContinuousClock.now < end {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(10))
    }
    Issue.record(what, sourceLocation: sourceLocation)
}
