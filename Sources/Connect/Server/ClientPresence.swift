internal import NIOCore
internal import Synchronization

/// Notices that the other end of a connection, or of an HTTP/2 stream, has gone, also while nothing is read from it.
final class ClientPresence: ChannelInboundHandler, RemovableChannelHandler, Sendable {
    typealias InboundIn = NIOAny

    private struct State {
        var isGone = false
        var onGone: (@Sendable () -> Void)?
    }

    private let state = Mutex(State())

    /// Calls `action` once when the client goes, or at once when it has; nil forgets the last one.
    func whenGone(_ action: (@Sendable () -> Void)?) {
        let isGone = state.withLock { state in
            state.onGone = state.isGone ? nil : action
            return state.isGone
        }
        if isGone { action?() }
    }

    private func gone() {
        state.withLock { state in
            state.isGone = true
            defer { state.onGone = nil }
            return state.onGone
        }?()
    }

    func handlerAdded(context: ChannelHandlerContext) {
        // A request can come now: on the connection itself, or on a stream of it.
        for channel in [context.channel, context.channel.parent].compactMap({ $0 }) {
            channel.pipeline.handler(type: OpeningLimit.self).whenSuccess { $0.opened() }
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        gone()
        context.fireChannelInactive()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // HTTP/1.1 only: who sends nothing more does not wait for an answer either.
        if case .inputClosed = event as? ChannelEvent { gone() }
        context.fireUserInboundEventTriggered(event)
    }
}
