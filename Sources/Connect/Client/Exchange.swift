internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import Synchronization

/// One HTTP request and its answer, as they go and come: pieces of the body are read only when somebody wants one.
///
/// One task uses it at a time. Every wait ends: by what it waits for, by its own limit, by the deadline of the whole, by the
/// task's cancellation, or by `close()`.
final class Exchange: HTTPClientResponseDelegate, Sendable {
    /// How far a request has got, as far as this side knows.
    enum Progress: Int, Comparable {
        case nothing, head, all

        static func < (one: Self, other: Self) -> Bool { one.rawValue < other.rawValue }
    }

    private enum End {
        case complete
        case failed(any Error)
    }

    private struct State {
        var task: HTTPClient.Task<Void>?
        var deadline: Scheduled<Void>?
        var progress = Progress.nothing
        var writer: HTTPClient.Body.StreamWriter?
        /// Kept while the request's body is open.
        var body: EventLoopPromise<Void>?
        var isWriting = false
        var head: HTTPResponseHead?
        var piece: ByteBuffer?
        /// Kept while nothing more may be read.
        var pause: EventLoopPromise<Void>?
        var end: End?
        /// Something has changed since somebody looked.
        var hasNews = false
        var waiter: CheckedContinuation<Void, Never>?

        /// Whether the server has said so much that the rest of the request does not matter.
        var hasAnswered: Bool {
            guard let head else { return false }
            return head.status.code != 200 || piece != nil || end != nil
        }
    }

    /// More than this is not read before somebody wants it.
    private static let mostKept = 256 << 10

    private let target: String
    private let idleLimit: Duration
    /// What the server must not get into a message by repeating it.
    let secrets: Secrets
    private let state = Mutex(State())

    /// - Parameter target: the server's name in messages.
    init(target: String, idleLimit: Duration, secrets: Secrets) {
        self.target = target
        self.idleLimit = idleLimit
        self.secrets = secrets
    }

    /// Sends a request whose body is whole.
    func start(_ request: HTTPClient.Request, client: HTTPClient, until deadline: ContinuousClock.Instant) {
        let task = client.execute(request: request, delegate: self)
        let left = max(.zero, deadline - .now)
        let timer = task.eventLoop.scheduleTask(in: TimeAmount(left)) {
            self.fail(CallFailure(ConnectError(.deadlineExceeded, "\(self.target) did not answer in time")))
        }
        let isOver = state.withLock { state in
            state.task = task
            state.deadline = timer
            return state.end != nil
        }
        if isOver {
            // It failed before it could be cancelled there.
            timer.cancel()
            task.cancel()
        }
        // Also what never reaches the delegate, as that the client is shut down.
        task.futureResult.whenComplete { result in
            switch result {
            case .success: self.finish(.complete)
            case .failure(let error): self.finish(.failed(error))
            }
        }
    }

    /// The body of a request that is written piece by piece with `write(_:)`.
    func streamedBody() -> HTTPClient.Body {
        .stream { writer in
            self.state.withLock { $0.task?.eventLoop }.map { self.open(writer, on: $0) }
                ?? self.openLater(writer)
        }
    }

    // MARK: Waits

    /// Returns when the request has left, as far as this side can know.
    func sent() async throws(CallFailure) {
        try await wait { $0.progress == .all || $0.head != nil ? () : nil }
    }

    /// Writes a piece of the request's body; false when the answer came before its turn.
    func write(_ piece: ByteBuffer) async throws(CallFailure) -> Bool {
        let writer: HTTPClient.Body.StreamWriter? = try await wait { state in
            if state.hasAnswered { return .some(nil) }
            guard let writer = state.writer else { return nil }
            state.isWriting = true
            return writer
        }
        guard let writer else { return false }
        writer.write(.byteBuffer(piece)).whenComplete { _ in
            // A failure ends the exchange too, and says more there.
            self.change { $0.isWriting = false }
        }
        return try await wait { state in
            if state.hasAnswered { return false }
            return state.isWriting ? nil : true
        }
    }

    /// The request's body is complete.
    func finishWriting() async throws(CallFailure) {
        let body: EventLoopPromise<Void>? = try await wait { state in
            if state.hasAnswered { return .some(nil) }
            guard let body = state.body else { return nil }
            state.body = nil
            return body
        }
        body?.succeed()
    }

    func head() async throws(CallFailure) -> HTTPResponseHead {
        try await wait { $0.head }
    }

    /// The next bytes of the answer; nil at its end.
    func next() async throws(CallFailure) -> ByteBuffer? {
        let (piece, pause): (ByteBuffer?, EventLoopPromise<Void>?) = try await wait { state in
            if let piece = state.piece {
                defer { (state.piece, state.pause) = (nil, nil) }
                return (piece, state.pause)
            }
            if case .complete = state.end { return (nil, nil) }
            return nil
        }
        pause?.succeed()
        return piece
    }

    /// Waits until `look` finds something. What has come is found even if the exchange has failed since.
    private func wait<T>(for look: (inout State) -> T?) async throws(CallFailure) -> T {
        var timer: Scheduled<Void>?
        defer { timer?.cancel() }
        while true {
            let found: Result<T, any Error>? = state.withLock { state in
                state.hasNews = false
                if let value = look(&state) { return .success(value) }
                return switch state.end {
                case .failed(let error): .failure(error)
                case .complete: .failure(HTTPClientError.remoteConnectionClosed)
                case nil: nil
                }
            }
            switch found {
            case .success(let value): return value
            case .failure(let error): throw CallFailure(connection: error, target: target, progress: progress)
            case nil: break
            }
            if timer == nil { timer = idleTimer() }
            await news()
        }
    }

    private func news() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isThere = state.withLock { state in
                    if !state.hasNews { state.waiter = continuation }
                    return state.hasNews
                }
                if isThere { continuation.resume() }
            }
        } onCancel: {
            fail(CallFailure(ConnectError(.canceled, "the call was cancelled")))
        }
    }

    private func idleTimer() -> Scheduled<Void>? {
        let loop = state.withLock { $0.task?.eventLoop }
        return loop?.scheduleTask(in: TimeAmount(idleLimit)) {
            self.fail(
                CallFailure(
                    ConnectError(.unavailable, "nothing came from \(self.target) for \(self.idleLimit)"),
                    isPassing: true))
        }
    }

    private var progress: Progress { state.withLock { $0.progress } }

    // MARK: Ends

    /// Gives the exchange up unless it is complete, and with it the connection.
    func close() { fail(CallFailure(ConnectError(.canceled, "the call was given up"))) }

    private func fail(_ failure: CallFailure) {
        let task = state.withLock { $0.end == nil ? $0.task : nil }
        finish(.failed(failure))
        task?.cancel()
    }

    private func finish(_ end: End) {
        let (pause, body, deadline) = state.withLock { state in
            if state.end == nil { state.end = end }
            defer { (state.pause, state.body, state.deadline, state.writer) = (nil, nil, nil, nil) }
            return (state.pause, state.body, state.deadline)
        }
        deadline?.cancel()
        pause?.fail(CancellationError())
        body?.fail(CancellationError())
        change { _ in }
    }

    private func change(_ change: (inout State) -> Void) {
        state.withLock { state -> CheckedContinuation<Void, Never>? in
            change(&state)
            state.hasNews = true
            defer { state.waiter = nil }
            return state.waiter
        }?.resume()
    }

    // MARK: What the HTTP client tells

    func didSendRequestHead(task: HTTPClient.Task<Void>, _ head: HTTPRequestHead) {
        change { $0.progress = max($0.progress, .head) }
    }

    func didSendRequest(task: HTTPClient.Task<Void>) {
        change { $0.progress = .all }
    }

    func didReceiveHead(task: HTTPClient.Task<Void>, _ head: HTTPResponseHead) -> EventLoopFuture<Void> {
        change { $0.head = head }
        return task.eventLoop.makeSucceededVoidFuture()
    }

    func didReceiveBodyPart(task: HTTPClient.Task<Void>, _ piece: ByteBuffer) -> EventLoopFuture<Void> {
        let pause = task.eventLoop.makePromise(of: Void.self)
        let action: () -> Void = state.withLock { state in
            guard state.end == nil else { return { pause.fail(CancellationError()) } }
            // What the HTTP client keeps it drops when the connection breaks; so a little is taken before it is wanted.
            if state.piece?.writeImmutableBuffer(piece) == nil { state.piece = piece }
            guard let kept = state.piece, kept.readableBytes > Self.mostKept else { return { pause.succeed() } }
            state.pause = pause
            return {}
        }
        action()
        change { _ in }
        return pause.futureResult
    }

    func didFinishRequest(task: HTTPClient.Task<Void>) throws {}

    private func open(_ writer: HTTPClient.Body.StreamWriter, on loop: any EventLoop) -> EventLoopFuture<Void> {
        let body = loop.makePromise(of: Void.self)
        let isOver = state.withLock { state in
            guard state.end == nil else { return true }
            state.writer = writer
            state.body = body
            return false
        }
        if isOver { body.fail(CancellationError()) } else { change { _ in } }
        return body.futureResult
    }

    /// The client may ask for the body before `start` has noted the task: an empty piece tells the event loop.
    private func openLater(_ writer: HTTPClient.Body.StreamWriter) -> EventLoopFuture<Void> {
        writer.write(.byteBuffer(ByteBuffer())).flatMapWithEventLoop { _, loop in self.open(writer, on: loop) }
    }
}

extension HTTPClient.Body {
    /// A body that ends at once, and not when the connection has taken it: so that no answer can come before its end, which
    /// the HTTP client does not survive in HTTP/2.
    static func whole(_ bytes: ByteBuffer) -> HTTPClient.Body {
        .stream(contentLength: Int64(bytes.readableBytes)) { writer in
            // A failure ends the exchange, and says more there.
            writer.write(.byteBuffer(bytes)).eventLoop.makeSucceededVoidFuture()
        }
    }
}
