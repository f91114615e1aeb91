import Foundation
import NIOCore
import NIOPosix
import Synchronization

/// A server that answers each request with the bytes that a test wrote down, whatever they are.
final class ScriptedServer: Sendable {
    /// What follows the bytes of an answer.
    enum Ending: Sendable {
        case keep, close, reset
    }

    struct Answer: Sendable {
        var bytes: [UInt8]
        var ending: Ending = .close
    }

    private let state = Mutex<(requests: [String], connections: Int)>(([], 0))
    private let answer: @Sendable (Int) -> Answer
    private let channel = Mutex<(any Channel)?>(nil)

    /// - Parameter answer: for the request with that number, from 0.
    private init(_ answer: @escaping @Sendable (Int) -> Answer) { self.answer = answer }

    var requests: [String] { state.withLock { $0.requests } }

    static func run<R>(
        _ answer: @escaping @Sendable (Int) -> Answer, _ body: (ScriptedServer, String) async throws -> R
    ) async throws -> R {
        let server = ScriptedServer(answer)
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(RequestHandler(server))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        defer { channel.close(promise: nil) }
        return try await body(server, "http://127.0.0.1:\(channel.localAddress?.port ?? 0)")
    }

    fileprivate func next(_ request: String) -> Answer {
        let number = state.withLock { state in
            state.requests.append(request)
            return state.requests.count - 1
        }
        return answer(number)
    }
}

private final class RequestHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let server: ScriptedServer
    private var received = ""

    init(_ server: ScriptedServer) { self.server = server }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        received += String(decoding: unwrapInboundIn(data).readableBytesView, as: Unicode.ASCII.self)
        guard isComplete else { return }
        let answer = server.next(received)
        received = ""
        if case .reset = answer.ending {
            _ = (context.channel as? any SocketOptionProvider)?.setSoLinger(linger(l_onoff: 1, l_linger: 0))
        }
        let channel = context.channel
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: answer.bytes))).whenComplete { _ in
            if case .keep = answer.ending { return }
            channel.close(promise: nil)
        }
    }

    private var isComplete: Bool {
        guard let end = received.range(of: "\r\n\r\n") else { return false }
        let head = received[..<end.lowerBound].lowercased()
        if head.contains("transfer-encoding: chunked") { return received.hasSuffix("0\r\n\r\n") }
        guard let field = head.range(of: "content-length: ") else { return true }
        let length = Int(head[field.upperBound...].prefix { $0.isNumber }) ?? 0
        return received[end.upperBound...].unicodeScalars.count >= length
    }
}
