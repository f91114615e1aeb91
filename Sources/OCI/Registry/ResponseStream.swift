internal import AsyncHTTPClient
internal import Logging
internal import NIOCore
internal import NIOHTTP1
internal import Synchronization

/// One answer as it comes: the head first, and the body when somebody has said where to.
///
/// Until then one piece is kept, so that it is not lost with the connection, and nothing more is read; nor is it while who
/// takes the bytes has no room. What comes is handed over on the event loop: to wake a task for each piece costs as much as
/// the piece itself.
final class ResponseStream: Sendable {
    /// Takes the next piece of a body, quickly, and says whether there is room for more. If not, `resume()` has to be called,
    /// from elsewhere: it waits until the sink has returned.
    typealias Sink = @Sendable (ByteBuffer) throws(RequestFailure) -> Bool

    private struct State {
        var task: HTTPClient.Task<Void>?
        var head: HTTPResponseHead?
        var waitingForHead: CheckedContinuation<HTTPResponseHead, any Error>?
        /// What came before there was a sink.
        var early: ByteBuffer?
        var sink: Sink?
        var waitingForEnd: CheckedContinuation<Void, any Error>?
        /// Kept while nothing may be read.
        var pause: EventLoopPromise<Void>?
        var end: Result<Void, any Error>?
        /// When the last part of the request's body went out.
        var lastSent: NIODeadline?

        mutating func takeEarly() -> ByteBuffer? {
            defer { early = nil }
            return early
        }

        mutating func takePause() -> EventLoopPromise<Void>? {
            defer { pause = nil }
            return pause
        }
    }

    private let state = Mutex(State())

    private init() {}

    /// Sends a request and returns with the head of the answer.
    ///
    /// - Parameter limit: how long the head may take.
    static func open(
        _ request: HTTPClient.Request, client: HTTPClient, limit: TimeAmount
    ) async throws -> (head: HTTPResponseHead, stream: ResponseStream) {
        let stream = ResponseStream()
        let task = client.execute(request: request, delegate: Delegate(stream: stream))
        stream.state.withLock { $0.task = task }
        // Also what never reaches the delegate, as that the client is shut down.
        task.futureResult.whenComplete { stream.finish($0) }
        let watch = stream.watch(task, limit: limit)
        defer { watch.cancel() }
        return (try await stream.head(), stream)
    }

    /// Fails the task when neither a part of the request was sent nor the head has come for so long.
    private func watch(_ task: HTTPClient.Task<Void>, limit: TimeAmount) -> RepeatedTask {
        let pause = TimeAmount.nanoseconds(max(limit.nanoseconds / 8, 1_000_000))
        let started = NIODeadline.now()
        return task.eventLoop.scheduleRepeatedTask(initialDelay: pause, delay: pause) { [self] watch in
            let (last, isOver) = state.withLock { ($0.lastSent ?? started, $0.head != nil || $0.end != nil) }
            if isOver { return watch.cancel() }
            guard NIODeadline.now() - last >= limit else { return }
            watch.cancel()
            task.fail(reason: HTTPClientError.deadlineExceeded)
        }
    }

    private func head() async throws -> HTTPResponseHead {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let known: Result<HTTPResponseHead, any Error>? = state.withLock { state in
                    if let head = state.head { return .success(head) }
                    if case .failure(let error) = state.end { return .failure(error) }
                    state.waitingForHead = continuation
                    return nil
                }
                if let known { continuation.resume(with: known) }
            }
        } onCancel: {
            cancel()
        }
    }

    /// Hands the body over, piece by piece; returns at its end. To be called once.
    func receive(_ sink: @escaping Sink) async throws {
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let (end, pause) = state.withLock { state -> (Result<Void, any Error>?, EventLoopPromise<Void>?) in
                    do throws(RequestFailure) {
                        var hasRoom = true
                        if let early = state.takeEarly() { hasRoom = try sink(early) }
                        if let end = state.end { return (end, nil) }
                        state.sink = sink
                        state.waitingForEnd = continuation
                        return (nil, hasRoom ? state.takePause() : nil)
                    } catch {
                        return (.failure(error), nil)
                    }
                }
                pause?.succeed()
                guard let end else { return }
                if case .failure = end { cancel() }
                continuation.resume(with: end)
            }
        } onCancel: {
            cancel()
        }
    }

    /// There is room again. From any thread.
    func resume() {
        state.withLock { $0.takePause() }?.succeed()
    }

    /// Ends the exchange, and with it the connection unless the answer is complete.
    func cancel() {
        let task = state.withLock { $0.task }
        finish(.failure(CancellationError()))
        task?.cancel()
    }

    private func finish(_ end: Result<Void, any Error>) {
        let (head, body, pause) = state.withLock { state in
            if state.end == nil { state.end = end }
            defer { state = State(head: state.head, early: state.early, end: state.end) }
            return (state.waitingForHead, state.waitingForEnd, state.takePause())
        }
        if case .failure(let error) = end { head?.resume(throwing: error) }
        body?.resume(with: end)
        pause?.fail(CancellationError())
    }

    // MARK: On the event loop

    fileprivate func sentPart() {
        state.withLock { $0.lastSent = .now() }
    }

    fileprivate func received(_ head: HTTPResponseHead) {
        state.withLock { state -> CheckedContinuation<HTTPResponseHead, any Error>? in
            guard state.end == nil else { return nil }
            state.head = head
            defer { state.waitingForHead = nil }
            return state.waitingForHead
        }?.resume(returning: head)
    }

    fileprivate func received(_ piece: ByteBuffer, pause: EventLoopPromise<Void>) {
        // The sink runs under the lock: when the stream has ended, none does.
        let next = state.withLock { state -> Result<Bool, any Error> in
            guard state.end == nil else { return .failure(CancellationError()) }
            guard let sink = state.sink else {
                state.early = piece
                state.pause = pause
                return .success(false)
            }
            do throws(RequestFailure) {
                let hasRoom = try sink(piece)
                if !hasRoom { state.pause = pause }
                return .success(hasRoom)
            } catch {
                return .failure(error)
            }
        }
        switch next {
        case .success(true): pause.succeed()
        case .success(false): break
        // This ends the exchange, and with it the stream.
        case .failure(let error): pause.fail(error)
        }
    }
}

/// What the HTTP client knows of a stream.
private final class Delegate: HTTPClientResponseDelegate {
    private let stream: ResponseStream

    init(stream: ResponseStream) { self.stream = stream }

    func didSendRequestPart(task: HTTPClient.Task<Void>, _ part: IOData) {
        stream.sentPart()
    }

    func didReceiveHead(task: HTTPClient.Task<Void>, _ head: HTTPResponseHead) -> EventLoopFuture<Void> {
        stream.received(head)
        return task.eventLoop.makeSucceededVoidFuture()
    }

    func didReceiveBodyPart(task: HTTPClient.Task<Void>, _ piece: ByteBuffer) -> EventLoopFuture<Void> {
        let pause = task.eventLoop.makePromise(of: Void.self)
        stream.received(piece, pause: pause)
        return pause.futureResult
    }

    func didFinishRequest(task: HTTPClient.Task<Void>) throws {}
}
