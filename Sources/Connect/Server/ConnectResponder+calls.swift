internal import HTTPTypes
internal import HummingbirdCore
internal import NIOCore

extension ConnectResponder {
    @concurrent
    func unary(
        _ admitted: Admitted, _ handler: @escaping @Sendable ([UInt8], Codec, ConnectContext) async throws -> [UInt8],
        _ writer: consuming ResponseWriter
    ) async throws {
        let call = admitted.call
        let (limit, codec, context, encoding) = (
            router.messageLimit, admitted.form.codec, admitted.context, admitted.encoding
        )
        let result = await supervise(admitted) {
            let message = try await call.request.body.whole(encoding, limit: limit)
            return try await handler(message, codec, context)
        }.result()
        switch result {
        case .failure(let error):
            record(call, error)
            try await fail(call, error, writer)
        case .success(var bytes):
            record(call, nil)
            var headers: HTTPFields = [.contentType: admitted.form.contentType]
            if call.acceptsGzip, bytes.count >= Gzip.leastSize {
                bytes = try Gzip.compress(bytes)
                headers[.contentEncoding] = Gzip.name
            }
            try await answer(call, .ok, headers, bytes, writer)
        }
    }

    @concurrent
    func clientStream(
        _ admitted: Admitted, _ handler: @escaping @Sendable (Inlet, Codec, ConnectContext) async throws -> [UInt8],
        _ writer: consuming ResponseWriter
    ) async throws {
        let call = admitted.call
        let (limit, codec, context, encoding) = (
            router.messageLimit, admitted.form.codec, admitted.context, admitted.encoding
        )
        let result = await supervise(admitted) {
            let inlet = Inlet(call.request.body, encoding: encoding, limit: limit)
            return try await handler(inlet, codec, context)
        }.result()
        var bytes: [UInt8] = []
        var failure: ConnectError?
        switch result {
        case .failure(let error):
            failure = error
        case .success(let message):
            let envelope = try Envelope(message, compresses: call.acceptsGzip)
            bytes += envelope.encoded().readableBytesView
        }
        record(call, failure)
        try await answer(call, .ok, streamHead(call), bytes + endOfStream(failure), writer)
    }

    @concurrent
    func serverStream(
        _ admitted: Admitted,
        _ handler: @escaping @Sendable ([UInt8], Codec, ConnectContext, Outlet) async throws -> Void,
        _ writer: consuming ResponseWriter
    ) async throws {
        let call = admitted.call
        var body = try await writer.writeHead(HTTPResponse(status: .ok, headerFields: streamHead(call)))
        let (limit, codec, context, encoding) = (
            router.messageLimit, admitted.form.codec, admitted.context, admitted.encoding
        )
        let outlet = Outlet(codec, compresses: call.acceptsGzip)
        let supervision = supervise(admitted) {
            defer { outlet.finish() }
            let message = try await Inlet(call.request.body, encoding: encoding, limit: limit).only()
            try await handler(message, codec, context, outlet)
        }
        do {
            try await withTaskCancellationHandler {
                while let batch = await outlet.next() {
                    let stall = stallTimer(call)
                    defer { stall.cancel() }
                    do {
                        try await body.write(contentsOf: batch.bytes)
                    } catch {
                        batch.written(false)
                        throw error
                    }
                    batch.written(true)
                }
            } onCancel: {
                supervision.stop()
            }
        } catch {
            outlet.fail()
            supervision.leave()
            _ = await supervision.result()
            record(call, ConnectError(.canceled, ""))
            throw error
        }
        var failure: ConnectError?
        if case .failure(let error) = await supervision.result() { failure = error }
        record(call, failure)
        let stall = stallTimer(call)
        defer { stall.cancel() }
        try await body.write(ByteBuffer(bytes: endOfStream(failure)))
        try await body.finish(nil)
    }

    private func supervise<Value: Sendable>(
        _ admitted: Admitted, _ operation: @escaping @Sendable () async throws -> Value
    ) -> Supervision<Value> {
        Supervision(
            on: admitted.call.channel.eventLoop, presence: admitted.presence, limit: admitted.limit,
            failed: failed(admitted.call), operation)
    }
}
