import NIOCore
import NIOPosix
import Synchronization

/// A connection that sends what a test wrote down, and keeps what comes.
final class RawConnection: Sendable {
    private let channel: any Channel
    private let received: Received

    private final class Received: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        let bytes = Mutex<[UInt8]>([])

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let piece = unwrapInboundIn(data)
            bytes.withLock { $0 += piece.readableBytesView }
        }
    }

    private init(_ channel: any Channel, _ received: Received) {
        self.channel = channel
        self.received = received
    }

    static func open(port: Int) async throws -> RawConnection {
        let received = Received()
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { $0.pipeline.addHandler(received) }
            .connect(host: "127.0.0.1", port: port).get()
        return RawConnection(channel, received)
    }

    func send(_ bytes: [UInt8]) async throws {
        try await channel.writeAndFlush(ByteBuffer(bytes: bytes))
    }

    func close() { channel.close(promise: nil) }

    /// What has come until now.
    var soFar: String { received.bytes.withLock { String(decoding: $0, as: UTF8.self) } }

    /// Everything that comes until the other end closes.
    func rest() async throws -> String {
        try await channel.closeFuture.get()
        return soFar
    }

    /// One request whose answer ends the connection.
    static func exchange(port: Int, _ pieces: [[UInt8]]) async throws -> String {
        let connection = try await open(port: port)
        for piece in pieces { try await connection.send(piece) }
        return try await connection.rest()
    }
}

/// A request as text: with `Connection: close`, so that its answer ends the connection.
func rawRequest(
    _ line: String = "POST /test.Echo/Echo HTTP/1.1", type: String? = "application/proto", fields: [String] = [],
    body: [UInt8] = []
) -> [UInt8] {
    var head = [line, "Host: localhost", "Connection: close", "Content-Length: \(body.count)"] + fields
    if let type { head.append("Content-Type: \(type)") }
    return Array((head.joined(separator: "\r\n") + "\r\n\r\n").utf8) + body
}
