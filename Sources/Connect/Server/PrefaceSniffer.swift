internal import HummingbirdCore
internal import HummingbirdHTTP2
internal import Logging
internal import NIOCore

/// HTTP/1.1 and HTTP/2 on one port without TLS: the client's first bytes say which (RFC 9113, 3.3 and 3.4).
struct EitherChannel: ServerChildChannel {
    struct Value: ServerChildChannelValue {
        let protocols: EventLoopFuture<Negotiated>
        let channel: any Channel
    }

    enum Negotiated: Sendable {
        case http1(HTTP1Channel.Value)
        case http2(HTTP2Channel.Value)
    }

    let http1: HTTP1Channel
    let http2: HTTP2Channel

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        channel.eventLoop.makeCompletedFuture {
            let promise = channel.eventLoop.makePromise(of: Negotiated.self)
            let sniffer = PrefaceSniffer(promise: promise) { isHTTP2 in
                isHTTP2
                    ? http2.setup(channel: channel, logger: logger).map { .http2($0) }
                    : http1.setup(channel: channel, logger: logger).map { .http1($0) }
            }
            try channel.pipeline.syncOperations.addHandler(sniffer)
            return Value(protocols: promise.futureResult, channel: channel)
        }
    }

    func handle(value: Value, logger: Logger) async {
        do {
            switch try await value.protocols.get() {
            case .http1(let connection): await http1.handle(value: connection, logger: logger)
            case .http2(let connection): await http2.handle(value: connection, logger: logger)
            }
        } catch {
            logger.trace("a connection ended before it said anything")
        }
    }
}

/// Holds the first bytes back until they say which protocol follows, then goes away.
private final class PrefaceSniffer: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    private static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    private let setUp: (Bool) -> EventLoopFuture<EitherChannel.Negotiated>
    private var promise: EventLoopPromise<EitherChannel.Negotiated>?
    private var held = ByteBuffer()

    init(
        promise: EventLoopPromise<EitherChannel.Negotiated>,
        setUp: @escaping (Bool) -> EventLoopFuture<EitherChannel.Negotiated>
    ) {
        self.promise = promise
        self.setUp = setUp
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        promise?.fail(ChannelError.eof)
        promise = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        promise?.fail(ChannelError.eof)
        promise = nil
        context.fireChannelInactive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case is ChannelShouldQuiesceEvent where promise != nil: context.close(promise: nil)
        case ChannelEvent.inputClosed where promise != nil: context.close(promise: nil)
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        held.writeImmutableBuffer(unwrapInboundIn(data))
        guard let promise else { return }
        let seen = held.readableBytesView.prefix(Self.preface.count)
        let isHTTP2 = Self.preface.starts(with: seen)
        guard !isHTTP2 || seen.count == Self.preface.count else { return }
        self.promise = nil
        // The handlers of the protocol come behind this one, at once: this is the event loop.
        setUp(isHTTP2).cascade(to: promise)
        context.fireChannelRead(wrapInboundOut(held))
        context.fireChannelReadComplete()
        context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    }
}
