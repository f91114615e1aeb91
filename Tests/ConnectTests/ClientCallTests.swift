import SwiftProtobuf
import Synchronization
import Testing

@testable import Connect

/// What happened, in order, from any thread.
private final class Notes: Sendable {
    private let notes = Mutex<[String]>([])
    func add(_ note: String) { notes.withLock { $0.append(note) } }
    var all: [String] { notes.withLock { $0 } }
}

@Suite("How a client calls", .timeLimit(.minutes(2)))
struct ClientCallTests {
    private static let unavailable = #"{"code":"unavailable","message":"not now"}"#

    /// Makes one call at a server that gives its answers one after the other, the last one for ever.
    private func call(
        _ method: Method<Text, Text>, _ answers: [ScriptedServer.Answer],
        adjust: (inout ConnectClientConfiguration) -> Void = { _ in }
    ) async throws -> (result: Result<String, ConnectError>, requests: Int) {
        try await ScriptedServer.run({ answers[min($0, answers.count - 1)] }) { server, url in
            try await withClient(try ServerAddress(url), adjust: adjust) { client in
                let result: Result<String, ConnectError>
                do throws(ConnectError) {
                    result = .success(try await client.unary(method, Text("question")).value)
                } catch {
                    result = .failure(error)
                }
                return (result, server.requests.count)
            }
        }
    }

    @Test("a call that may be repeated is, until the server can take it")
    func repeated() async throws {
        let busy = RawAnswer.http(503, "application/json", Self.unavailable)
        let answers: [ScriptedServer.Answer] = [
            .init(bytes: busy, ending: .keep), .init(bytes: [], ending: .reset), .init(bytes: Array(busy.prefix(30))),
            .init(bytes: try RawAnswer.unary("at last")),
        ]
        let (result, requests) = try await call(EchoMethods.echo, answers)
        #expect(try result.get() == "at last")
        #expect(requests == 4)
        let (failed, all) = try await call(EchoMethods.echo, [.init(bytes: busy, ending: .keep)])
        #expect(failed.failure?.code == .unavailable)
        #expect(failed.failure?.message == "not now")
        #expect(all == RetryPolicy().attempts)
    }

    @Test("a call with an effect of its own is not repeated when the effect is open")
    func once() async throws {
        let open: [ScriptedServer.Answer] = [
            .init(bytes: RawAnswer.http(503, "application/json", Self.unavailable)),
            .init(bytes: RawAnswer.http(502, "text/html", "gateway")), .init(bytes: [], ending: .reset),
            .init(bytes: [], ending: .close),
        ]
        for answer in open {
            let (result, requests) = try await call(EchoMethods.once, [answer])
            #expect(result.failure?.isAmbiguous == true)
            #expect(requests == 1)
        }
    }

    @Test("what certainly had no effect is repeated for every call: 429, with the wait that the server asks for")
    func tooMany() async throws {
        let answers: [ScriptedServer.Answer] = [
            .init(bytes: RawAnswer.http(429, "text/plain", "slow down", ["Retry-After: 0"]), ending: .keep),
            .init(bytes: try RawAnswer.unary("done")),
        ]
        let (result, requests) = try await call(EchoMethods.once, answers)
        #expect(try result.get() == "done")
        #expect(requests == 2)
        let long = RawAnswer.http(
            429, "application/json", #"{"code":"resource_exhausted","message":"tomorrow"}"#, ["Retry-After: 86400"])
        let (refused, once) = try await call(EchoMethods.echo, [.init(bytes: long)])
        #expect(refused.failure?.retryAfter == .seconds(86400))
        #expect(refused.failure?.code == .resourceExhausted)
        #expect(once == 1)
    }

    @Test("a connection that is refused had no effect, and is tried again for every call")
    func refusedConnection() async throws {
        // Port 1 (tcpmux) has no server anywhere.
        let address = try ServerAddress("http://127.0.0.1:1")
        let attempts = Notes()
        let error = try await withClient(
            address, adjust: { $0.observer = { attempts.add("\($0.attempt) \($0.point)") } }
        ) { client in
            await failure { _ = try await client.unary(EchoMethods.once, Text("x")) }
        }
        #expect(error?.code == .unavailable)
        #expect(error?.isAmbiguous == false)
        #expect(error?.message.contains("refused") == true)
        #expect(attempts.all == (1...4).map { "\($0) beforeSend" })
    }

    @Test("waits grow up to a bound, and hold what the server asked for")
    func delays() {
        let policy = RetryPolicy()
        #expect(policy.delay(afterFailures: 1, retryAfter: nil, random: 1) == .milliseconds(200))
        #expect(policy.delay(afterFailures: 3, retryAfter: nil, random: 1) == .milliseconds(800))
        #expect(policy.delay(afterFailures: 1000, retryAfter: nil, random: 1) == .seconds(5))
        #expect(policy.delay(afterFailures: 1, retryAfter: .seconds(3), random: 0) == .seconds(3))
        let open = CallFailure(ConnectError(.unavailable, "", isAmbiguous: true), isPassing: true)
        let closed = CallFailure(ConnectError(.unavailable, ""), isPassing: true)
        let lasting = CallFailure(ConnectError(.invalidArgument, ""))
        for repeatability in [Repeatability.safe, .idempotent] {
            #expect(policy.allowsRetry(of: repeatability, after: open, failures: 1))
            #expect(!policy.allowsRetry(of: repeatability, after: open, failures: 4))
            #expect(!policy.allowsRetry(of: repeatability, after: lasting, failures: 1))
        }
        #expect(!policy.allowsRetry(of: .once, after: open, failures: 1))
        #expect(policy.allowsRetry(of: .once, after: closed, failures: 1))
    }

    @Test("a server that does not answer is given up at the deadline")
    func deadline() async throws {
        let silent = ScriptedServer.Answer(bytes: [], ending: .keep)
        let error = try await ScriptedServer.run({ _ in silent }) { _, url in
            try await withClient(try ServerAddress(url)) { client in
                await failure {
                    _ = try await client.unary(EchoMethods.echo, Text("x"), deadline: .milliseconds(100))
                }
            }
        }
        #expect(error?.code == .deadlineExceeded)
        #expect(error?.isAmbiguous == true)
    }

    @Test("a stream that falls silent is given up at its idle limit, long before the deadline")
    func idle() async throws {
        let one = RawAnswer.stream([RawAnswer.envelope(0, try RawAnswer.message("one"))])
        let silent = ScriptedServer.Answer(bytes: one.dropLast(5), ending: .keep)
        let got = Notes()
        let error = try await ScriptedServer.run({ _ in silent }) { _, url in
            try await withClient(try ServerAddress(url)) { client in
                await failure {
                    try await client.serverStream(
                        EchoMethods.count, Number(1), deadline: .seconds(3600), idle: .milliseconds(100)
                    ) { stream in
                        while let message = try await stream.next() { got.add(message.value) }
                    }
                }
            }
        }
        #expect(error?.code == .unavailable)
        #expect(error?.isAmbiguous == true)
        #expect(got.all == ["one"])
    }

    @Test("a call ends when its task is cancelled")
    func cancelled() async throws {
        let silent = ScriptedServer.Answer(bytes: [], ending: .keep)
        try await ScriptedServer.run({ _ in silent }) { server, url in
            try await withClient(try ServerAddress(url)) { client in
                let task = Task { await failure { _ = try await client.unary(EchoMethods.once, Text("x")) } }
                while server.requests.isEmpty { try await Task.sleep(for: .milliseconds(5)) }
                task.cancel()
                let error = await task.value
                #expect(error?.code == .canceled)
                #expect(error?.isAmbiguous == true)
            }
        }
    }

    @Test("who watches the requests sees each boundary once, and may end the call there")
    func observer() async throws {
        let notes = Notes()
        let (result, _) = try await call(EchoMethods.echo, [.init(bytes: try RawAnswer.unary("x"))]) {
            $0.observer = { notes.add("\($0.method) \($0.point)") }
        }
        #expect(try result.get() == "x")
        #expect(notes.all == ["beforeSend", "afterSend", "afterAnswer"].map { "test.Echo/Echo \($0)" })
        for (point, requests) in [(RequestEvent.Point.beforeSend, 0), (.afterSend, 1), (.afterAnswer, 1)] {
            let (result, count) = try await call(EchoMethods.echo, [.init(bytes: try RawAnswer.unary("x"))]) {
                $0.observer = { event throws(ConnectError) in
                    if event.point == point { throw ConnectError(.aborted, "stop here") }
                }
            }
            #expect(result.failure?.message == "stop here")
            #expect(count == requests || point == .afterSend && count <= 1)
        }
    }

    @Test("the token is read for each request, and never gets into an error that repeats it")
    func secrets() async throws {
        let count = Mutex(0)
        let body = #"{"code":"unauthenticated","message":"bad token s3cret-token-1 in Bearer s3cret-token-1"}"#
        let refused = ScriptedServer.Answer(bytes: RawAnswer.http(401, "application/json", body), ending: .keep)
        try await ScriptedServer.run({ _ in refused }) { server, url in
            var configuration = ConnectClientConfiguration(address: try ServerAddress(url)) { () throws(ConnectError) in
                let number = count.withLock { count in
                    count += 1
                    return count
                }
                return [("Authorization", "Bearer s3cret-token-\(number)"), ("x-depot-org", "org")]
            }
            configuration.retry.attempts = 1
            let client = try ConnectClient(configuration)
            let error = try #require(await failure { _ = try await client.unary(EchoMethods.echo, Text("x")) })
            #expect(error.code == .unauthenticated)
            #expect(!"\(error)".contains("s3cret"))
            #expect(error.message == "bad token [redacted] in [redacted]")
            _ = await failure { _ = try await client.unary(EchoMethods.echo, Text("x")) }
            let first = try #require(server.requests.first).lowercased()
            #expect(first.contains("authorization: bearer s3cret-token-1\r\nx-depot-org: org\r\n"))
            let last = try #require(server.requests.last).lowercased()
            #expect(last.contains("authorization: bearer s3cret-token-2\r\n"))
            await client.shutdown()
        }
    }

    @Test("a token that cannot be a header is refused without being shown")
    func badToken() async throws {
        var configuration = ConnectClientConfiguration(address: try ServerAddress("http://127.0.0.1:1")) {
            () throws(ConnectError) in [("Authorization", "Bearer s3cret\r\nEvil: yes")]
        }
        configuration.retry.attempts = 1
        let client = try ConnectClient(configuration)
        let error = try #require(await failure { _ = try await client.unary(EchoMethods.echo, Text("x")) })
        #expect(error.code == .invalidArgument)
        #expect(!"\(error)".contains("s3cret"))
        await client.shutdown()
    }

    @Test("a server that answers a client's stream early is heard, and the rest is not sent")
    func earlyAnswer() async throws {
        try await withServer(.echo()) { address in
            try await withClient(address) { client in
                let error = await failure {
                    _ = try await client.clientStream(EchoMethods.refuse) { sink in
                        while true { try await sink.send(Text(String(repeating: "x", count: 100_000))) }
                    }
                }
                #expect(error?.code == .failedPrecondition)
                #expect(error?.message == "one was enough")
                let answer = try await client.unary(EchoMethods.echo, Text("still here"))
                #expect(answer.value == "still here")
            }
        }
    }

    @Test("a client's stream whose messages cannot be made reaches the server as a broken one")
    func brokenClientStream() async throws {
        struct Stop: Error {}
        let log = EchoLog()
        try await withServer(.echo(log)) { address in
            try await withClient(address) { client in
                await #expect(throws: Stop.self) {
                    _ = try await client.clientStream(EchoMethods.join) { sink in
                        try await sink.send(Text("one"))
                        throw Stop()
                    }
                }
            }
        }
        // The server has stopped, and its handlers with it.
        #expect(!log.all.contains("joined"))
    }

    @Test("a stream that is left early cancels its handler, and the client can go on")
    func leftEarly() async throws {
        let log = EchoLog()
        try await withServer(.echo(log)) { address in
            try await withClient(address) { client in
                let first = try await client.serverStream(EchoMethods.waitStream, Text("hello")) { stream in
                    try await stream.next()?.value
                }
                #expect(first == "hello")
                try await log.wait(for: "cancelled")
                let answer = try await client.unary(EchoMethods.echo, Text("still here"))
                #expect(answer.value == "still here")
            }
        }
    }
}
