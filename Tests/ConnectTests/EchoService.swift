import Connect
import Logging
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing

typealias Text = Google_Protobuf_StringValue
typealias Number = Google_Protobuf_Int64Value

/// Calls for the tests, on messages that SwiftProtobuf brings along.
enum EchoMethods {
    static let echo = Method<Text, Text>(service: "test.Echo", name: "Echo", kind: .unary, repeatability: .safe)
    static let once = Method<Text, Text>(service: "test.Echo", name: "Once", kind: .unary, repeatability: .once)
    static let fail = Method<Text, Text>(service: "test.Echo", name: "Fail", kind: .unary, repeatability: .once)
    static let wait = Method<Text, Text>(service: "test.Echo", name: "Wait", kind: .unary, repeatability: .once)
    static let unknown = Method<Text, Text>(service: "test.Echo", name: "Unknown", kind: .unary, repeatability: .safe)
    static let count = Method<Number, Text>(
        service: "test.Echo", name: "Count", kind: .serverStream, repeatability: .safe)
    static let failAfter = Method<Number, Text>(
        service: "test.Echo", name: "FailAfter", kind: .serverStream, repeatability: .safe)
    static let waitStream = Method<Text, Text>(
        service: "test.Echo", name: "WaitStream", kind: .serverStream, repeatability: .safe)
    static let join = Method<Text, Text>(service: "test.Echo", name: "Join", kind: .clientStream, repeatability: .once)
    static let refuse = Method<Text, Text>(
        service: "test.Echo", name: "Refuse", kind: .clientStream, repeatability: .once)
}

/// What happened to the handlers.
final class EchoLog: Sendable {
    private let events = Mutex<[String]>([])

    func note(_ event: String) { events.withLock { $0.append(event) } }

    var all: [String] { events.withLock { $0 } }

    /// Waits until an event was noted; the test's own limit bounds it.
    func wait(for event: String) async throws {
        while !all.contains(event) { try await Task.sleep(for: .milliseconds(5)) }
    }
}

struct UnexpectedError: Error, CustomStringConvertible {
    var description: String { "the password is hunter2" }
}

extension ConnectRouter {
    static func echo(_ log: EchoLog = EchoLog()) -> ConnectRouter {
        var router = ConnectRouter()
        router.page("/healthz", "ok\n")
        router.unary(EchoMethods.echo) { text, _ in
            log.note("echo")
            return text
        }
        router.unary(EchoMethods.once) { text, _ in
            log.note("once")
            return text
        }
        router.unary(EchoMethods.fail) { text, _ in
            guard let code = ConnectError.Code(rawValue: text.value) else { throw UnexpectedError() }
            throw ConnectError(
                code, "it is \(code.rawValue)", details: [.init(type: "test.Detail", value: [0, 1, 254, 255])],
                retryAfter: code == .resourceExhausted ? .seconds(7) : nil)
        }
        router.unary(EchoMethods.wait) { text, _ in
            log.note("started")
            do {
                try await Task.sleep(for: .seconds(3600))
            } catch {
                log.note("cancelled")
                throw error
            }
            return text
        }
        router.serverStream(EchoMethods.count) { number, _, sink in
            for index in 0..<number.value { try await sink.send(Text("message \(index)")) }
        }
        router.serverStream(EchoMethods.failAfter) { number, _, sink in
            for index in 0..<number.value { try await sink.send(Text("message \(index)")) }
            throw ConnectError(
                .dataLoss, "after \(number.value)", details: [.init(type: "test.Detail", value: [1, 2])])
        }
        router.serverStream(EchoMethods.waitStream) { text, _, sink in
            try await sink.send(text)
            log.note("started")
            do {
                try await Task.sleep(for: .seconds(3600))
            } catch {
                log.note("cancelled")
                throw error
            }
        }
        router.clientStream(EchoMethods.join) { stream, _ in
            var parts: [String] = []
            while let part = try await stream.next() { parts.append(part.value) }
            log.note("joined")
            return Text(parts.joined(separator: " "))
        }
        router.clientStream(EchoMethods.refuse) { stream, _ in
            _ = try await stream.next()
            throw ConnectError(.failedPrecondition, "one was enough")
        }
        return router
    }
}

/// Runs a server on a free port of the loopback, or on a socket, for as long as `body` runs.
@discardableResult
func withServer<R: Sendable>(
    _ router: ConnectRouter, address: ConnectServerConfiguration.Address = .tcp(host: "127.0.0.1", port: 0),
    adjust: (inout ConnectServerConfiguration) -> Void = { _ in }, _ body: (ServerAddress) async throws -> R
) async throws -> R {
    var configuration = ConnectServerConfiguration(address: address)
    configuration.grace = .seconds(2)
    adjust(&configuration)
    let server = ConnectServer(configuration, router: router, logger: Logger(label: "test"))
    let (running, announce) = AsyncStream<ServerAddress>.makeStream()
    let (stop, stopper) = AsyncStream<Void>.makeStream()
    async let served: Void = {
        defer { announce.finish() }
        try await server.run(onRunning: { announce.yield($0) }, until: { for await _ in stop {} })
    }()
    var iterator = running.makeAsyncIterator()
    guard let address = await iterator.next() else {
        try await served
        throw UnexpectedError()
    }
    let result: Result<R, any Error>
    do {
        result = .success(try await body(address))
    } catch {
        result = .failure(error)
    }
    stopper.finish()
    try await served
    return try result.get()
}

/// A client for as long as `body` runs.
@discardableResult
func withClient<R: Sendable>(
    _ address: ServerAddress, adjust: (inout ConnectClientConfiguration) -> Void = { _ in },
    _ body: (ConnectClient) async throws -> R
) async throws -> R {
    var configuration = ConnectClientConfiguration(address: address)
    configuration.retry.firstDelay = .milliseconds(1)
    configuration.retry.longestDelay = .milliseconds(5)
    adjust(&configuration)
    let client = try ConnectClient(configuration)
    let result: Result<R, any Error>
    do {
        result = .success(try await body(client))
    } catch {
        result = .failure(error)
    }
    await client.shutdown()
    return try result.get()
}

/// The error that a call must fail with.
func failure(_ call: () async throws -> Void) async -> ConnectError? {
    do {
        try await call()
        return nil
    } catch {
        return error as? ConnectError
    }
}
