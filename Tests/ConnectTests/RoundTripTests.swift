import Connect
import SwiftProtobuf
import TestSupport
import Testing

/// In which ways a client and a server can speak.
struct Way: Sendable, CustomTestStringConvertible {
    var codec: Codec
    var compresses: Bool
    var isUnix = false

    var testDescription: String { "\(codec)\(compresses ? ", gzip" : "")\(isUnix ? ", Unix socket" : "")" }

    static let all = [
        Way(codec: .proto, compresses: false), Way(codec: .proto, compresses: true),
        Way(codec: .json, compresses: false), Way(codec: .json, compresses: true),
        Way(codec: .proto, compresses: false, isUnix: true),
    ]

    func run(_ router: ConnectRouter = .echo(), _ body: (ConnectClient) async throws -> Void) async throws {
        let directory = try TemporaryDirectory()
        let address: ConnectServerConfiguration.Address =
            isUnix ? .unix(path: "\(directory.path)/socket") : .tcp(host: "127.0.0.1", port: 0)
        try await withServer(router, address: address) { address in
            try await withClient(
                address,
                adjust: {
                    $0.codec = codec
                    $0.compressesRequests = compresses
                }, body)
        }
    }
}

@Suite("A client and a server", .timeLimit(.minutes(2)))
struct RoundTripTests {
    @Test("a message goes there and back, whatever its size", arguments: Way.all)
    func unary(way: Way) async throws {
        try await way.run { client in
            for size in [0, 1, 1023, 1024, 100_000, 4 << 20] {
                let text = Text(String(repeating: "ä\u{1F600}z", count: size / 7))
                let answer = try await client.unary(EchoMethods.echo, text)
                #expect(answer == text)
            }
        }
    }

    @Test("a server's stream comes whole and in order", arguments: Way.all)
    func serverStream(way: Way) async throws {
        try await way.run { client in
            for count: Int64 in [0, 1, 1000] {
                let messages = try await client.serverStream(EchoMethods.count, Number(count)) { stream in
                    var messages: [String] = []
                    while let message = try await stream.next() { messages.append(message.value) }
                    let afterwards = try await stream.next()
                    #expect(afterwards == nil)
                    return messages
                }
                #expect(messages == (0..<count).map { "message \($0)" })
            }
        }
    }

    @Test("a client's stream comes whole and in order", arguments: Way.all)
    func clientStream(way: Way) async throws {
        try await way.run { client in
            for count in [0, 1, 300] {
                let parts = (0..<count).map { "\($0)" + String(repeating: "x", count: $0 * 10) }
                let answer = try await client.clientStream(EchoMethods.join) { sink in
                    for part in parts { try await sink.send(Text(part)) }
                }
                #expect(answer.value == parts.joined(separator: " "))
            }
        }
    }
}
