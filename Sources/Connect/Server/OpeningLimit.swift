internal import HummingbirdCore
internal import Logging
internal import NIOCore
internal import Synchronization

/// Closes a connection whose client does not get as far as a request: no bytes, or no end of a TLS handshake.
final class OpeningLimit: ChannelInboundHandler, RemovableChannelHandler, Sendable {
    typealias InboundIn = NIOAny

    private let limit: TimeAmount
    private let timer = Mutex<Scheduled<Void>?>(nil)

    init(_ limit: Duration) { self.limit = TimeAmount(limit) }

    /// The protocol is known; its own limits hold from now on.
    func opened() {
        timer.withLock { timer in
            defer { timer = nil }
            return timer
        }?.cancel()
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let channel = context.channel
        let scheduled = context.eventLoop.scheduleTask(in: limit) { channel.close(promise: nil) }
        timer.withLock { $0 = scheduled }
    }

    func channelInactive(context: ChannelHandlerContext) {
        opened()
        context.fireChannelInactive()
    }
}

/// Connections with a limit on how long they may take to open.
struct LimitedChannel<Inner: ServerChildChannel>: ServerChildChannel {
    typealias Value = Inner.Value

    let inner: Inner
    let limit: Duration

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        do {
            try channel.pipeline.syncOperations.addHandler(OpeningLimit(limit))
        } catch {
            return channel.eventLoop.makeFailedFuture(error)
        }
        return inner.setup(channel: channel, logger: logger)
    }

    func handle(value: Value, logger: Logger) async { await inner.handle(value: value, logger: logger) }
}
