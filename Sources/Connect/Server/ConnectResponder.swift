internal import HTTPTypes
internal import HummingbirdCore
internal import Logging
internal import NIOCore

/// Answers HTTP requests by the protocol's rules, with the handlers of a router.
///
/// What it throws ends the connection: it is of no use any more. Where a writer is passed on, functions are concurrent as the
/// library's own, which take it.
struct ConnectResponder: Sendable {
    /// What a refused request may still send, so that its answer can be read.
    private static let mostUnread = 256 << 10

    let router: ConnectRouter
    let logger: Logger
    /// The longest wait for a connection to take what is written.
    let writeLimit: Duration

    /// A call that may be made.
    struct Admitted {
        let call: IncomingCall
        let form: IncomingCall.Form
        let route: Route
        let context: ConnectContext
        let encoding: ContentEncoding
        let limit: Duration
        let presence: ClientPresence
    }

    private enum Refusal: Error {
        case error(ConnectError)
        case status(HTTPResponse.Status, HTTPFields)
    }

    @concurrent
    func respond(_ request: Request, _ writer: consuming ResponseWriter, _ channel: any Channel) async throws {
        let call = IncomingCall(request, channel)
        if let make = router.pages["/\(call.method)"] {
            guard request.method == .get || request.method == .head else {
                try await answer(call, .methodNotAllowed, [.allow: "GET, HEAD"], [], writer)
                return try await drain(request)
            }
            let page = await make()
            return try await answer(
                call, page.isAvailable ? .ok : .serviceUnavailable, [.contentType: page.mediaType],
                Array(page.text.utf8), writer)
        }
        let admitted: Result<Admitted, Refusal> = await admit(call)
        switch admitted {
        case .failure(.status(let status, let headers)):
            try await answer(call, status, headers, [], writer)
            try await drain(request)
        case .failure(.error(let error)):
            if call.form?.isStream == true {
                try await answer(call, .ok, streamHead(call), endOfStream(error), writer)
            } else {
                try await fail(call, error, writer)
            }
            record(call, error)
            try await drain(request)
        case .success(let admitted):
            switch admitted.route {
            case .unary(let handler): try await unary(admitted, handler, writer)
            case .serverStream(let handler): try await serverStream(admitted, handler, writer)
            case .clientStream(let handler): try await clientStream(admitted, handler, writer)
            }
        }
    }

    // MARK: Whether a call may be made

    private func admit(_ call: IncomingCall) async -> Result<Admitted, Refusal> {
        guard call.request.method == .post else {
            let isKnown = router.routes[call.method] != nil || call.request.method != .get
            return .failure(isKnown ? .status(.methodNotAllowed, [.allow: "POST"]) : .status(.notFound, [:]))
        }
        do {
            try await router.authenticator?(call.request.headers)
            guard let route = router.routes[call.method] else {
                throw ConnectError(.unimplemented, "the server does not know the call \(shownMethod(call))")
            }
            guard let form = call.form, form.isStream == (route.kind != .unary) else {
                let known = Codec.allCases.map { $0.contentType(route.kind) }.joined(separator: ", ")
                var headers = HTTPFields()
                headers[text: "accept-post"] = known
                return .failure(.status(.unsupportedMediaType, headers))
            }
            try call.checkVersion()
            let timeout = try call.timeout()
            let presence = try await call.channel.pipeline.handler(type: ClientPresence.self).get()
            return .success(
                Admitted(
                    call: call, form: form, route: route,
                    context: ConnectContext(
                        method: call.method, headers: call.request.headers,
                        deadline: timeout.map { call.started + $0 }),
                    encoding: try call.encoding(), limit: min(timeout ?? router.longestCall, router.longestCall),
                    presence: presence))
        } catch let error as ConnectError {
            return .failure(.error(error))
        } catch {
            failed(call)(error)
            return .failure(.error(.unexpected))
        }
    }

    private func shownMethod(_ call: IncomingCall) -> String { ConnectError.shown(String(call.method.prefix(200))) }

    /// For the log: what the caller does not learn.
    func failed(_ call: IncomingCall) -> @Sendable (any Error) -> Void {
        { error in
            logger.error(
                "a call failed unexpectedly",
                metadata: ["method": "\(shownMethod(call))", "error": "\(ConnectError.shown("\(error)"))"])
        }
    }

    func record(_ call: IncomingCall, _ error: ConnectError?) {
        router.onCall?(
            CallRecord(method: shownMethod(call), code: error?.code, duration: ContinuousClock.now - call.started))
    }

    // MARK: Answers

    /// An error of a unary call, or of one whose form nobody knows.
    @concurrent
    func fail(_ call: IncomingCall, _ error: ConnectError, _ writer: consuming ResponseWriter) async throws {
        var headers: HTTPFields = [.contentType: "application/json"]
        if let wait = error.retryAfter { headers[text: "retry-after"] = "\(max(1, wait.components.seconds))" }
        if error.code == .unimplemented { headers[text: "accept-encoding"] = "gzip, identity" }
        try await answer(call, HTTPResponse.Status(code: error.code.httpStatus), headers, error.json(), writer)
    }

    @concurrent
    func answer(
        _ call: IncomingCall, _ status: HTTPResponse.Status, _ headers: HTTPFields, _ body: [UInt8],
        _ writer: consuming ResponseWriter
    ) async throws {
        var headers = headers
        headers[.contentLength] = "\(body.count)"
        // RFC 9110, 9.3.2: the same head as for GET, and nothing after it.
        let body = call.request.method == .head ? [] : body
        let stall = stallTimer(call)
        defer { stall.cancel() }
        try await writer.write(
            response: HTTPResponse(status: status, headerFields: headers),
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
    }

    func streamHead(_ call: IncomingCall) -> HTTPFields {
        var headers = HTTPFields()
        headers[.contentType] = call.form?.contentType
        headers[text: "connect-accept-encoding"] = "gzip, identity"
        if call.acceptsGzip { headers[text: "connect-content-encoding"] = Gzip.name }
        return headers
    }

    func endOfStream(_ error: ConnectError?) -> [UInt8] {
        Array(Envelope(flags: Envelope.endOfStreamFlag, payload: EndOfStream.encode(error)).encoded().readableBytesView)
    }

    /// Ends a connection that does not take what is written.
    func stallTimer(_ call: IncomingCall) -> Scheduled<Void> {
        let channel = call.channel
        return channel.eventLoop.scheduleTask(in: TimeAmount(writeLimit)) { channel.close(promise: nil) }
    }

    /// Takes a little of what a refused request still sends: who closes at once may lose its own answer on the way.
    private func drain(_ request: Request) async throws {
        var rest = Self.mostUnread
        for try await piece in request.body {
            rest -= piece.readableBytes
            if rest < 0 { throw ConnectError(.resourceExhausted, "a refused request goes on") }
        }
    }
}
