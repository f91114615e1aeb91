internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
package import SwiftProtobuf

extension ConnectClient {
    /// One message there, many back, which `body` takes from the stream as it likes: what it does not read is not sent.
    ///
    /// A request is repeated only as long as the server has not begun to answer; what fails later, `next()` throws. When
    /// `body` returns or throws before the stream's end, the connection is given up, which cancels the call.
    ///
    /// - Parameters:
    ///   - deadline: for all of the call; the client's limit for calls without one.
    ///   - idle: for each wait for the next message's bytes; the client's limit without one.
    package func serverStream<Q: Message, A: Message, R>(
        _ method: Method<Q, A>, _ request: Q, deadline: Duration? = nil, idle: Duration? = nil,
        _ body: (ConnectStream<A>) async throws -> R
    ) async throws -> R {
        let message = try envelope(request).encoded()
        let (call, exchange, reader) = try await retrying(method.path, method.repeatability, deadline) {
            call throws(CallFailure) -> (Call, Exchange, StreamReader) in
            let exchange = try await self.start(
                call, .serverStream, .whole(message), isCompressed: self.configuration.compressesRequests,
                idle: idle)
            let reader = StreamReader(exchange, self.configuration)
            do throws(CallFailure) {
                try await self.observeSent(call, exchange)
                try await reader.open()
            } catch {
                exchange.close()
                if error.isAnswer { try await self.observe(.afterAnswer, call) }
                throw error
            }
            return (call, exchange, reader)
        }
        defer { exchange.close() }
        let result = try await body(ConnectStream(reader, configuration.codec))
        if reader.hasEnded { try await observed(.afterAnswer, call) }
        return result
    }

    /// Many messages there, which `send` puts into the sink, one back.
    ///
    /// The request is never repeated, because `send` has given its messages away; it ends when `send` returns. When the
    /// server answers before, the sink takes nothing more and `send` is told so by an error, which need not be passed on:
    /// what the server said is what this throws or returns.
    package func clientStream<Q: Message, A: Message>(
        _ method: Method<Q, A>, deadline: Duration? = nil, idle: Duration? = nil,
        _ send: (ConnectSink<Q>) async throws -> Void
    ) async throws -> A {
        let limit = deadline ?? configuration.callLimit
        let call = Call(path: method.path, deadline: .now + limit, attempt: 1)
        let exchange: Exchange
        do throws(CallFailure) {
            exchange = try await start(
                call, .clientStream, nil, isCompressed: configuration.compressesRequests, idle: idle)
        } catch {
            throw error.error
        }
        defer { exchange.close() }
        let sink = ConnectSink<Q>(exchange, configuration)
        do {
            try await send(sink)
        } catch {
            // The server's own word says why it did not want more.
            guard sink.wasRefused else { throw error }
        }
        do throws(CallFailure) {
            if !sink.wasRefused { try await exchange.finishWriting() }
            try await observeSent(call, exchange)
            return try await only(call, exchange)
        } catch {
            throw error.error
        }
    }

    /// The one message of a stream that comes.
    private func only<A: Message>(_ call: Call, _ exchange: Exchange) async throws(CallFailure) -> A {
        let reader = StreamReader(exchange, configuration)
        let first: [UInt8]?
        do throws(CallFailure) {
            first = try await reader.next()
            if first != nil, try await reader.next() != nil {
                throw CallFailure(
                    ConnectError(.unimplemented, "the server sent more than one answer", isAmbiguous: true))
            }
        } catch {
            if error.isAnswer { try await observe(.afterAnswer, call) }
            throw error
        }
        try await observe(.afterAnswer, call)
        guard let first else {
            throw CallFailure(ConnectError(.unimplemented, "the server sent no answer", isAmbiguous: true))
        }
        do throws(ConnectError) {
            return try configuration.codec.decode(first)
        } catch {
            throw CallFailure(ConnectError(.internal, error.message, isAmbiguous: true))
        }
    }

    private func envelope(_ message: some Message) throws(ConnectError) -> Envelope {
        try configuration.envelope(message)
    }

    private func observed(_ point: RequestEvent.Point, _ call: Call) async throws(ConnectError) {
        do throws(CallFailure) {
            try await observe(point, call)
        } catch {
            throw error.error
        }
    }
}

/// The messages that come from a server. For the task that it was given to.
package final class ConnectStream<A: Message> {
    private let reader: StreamReader
    private let codec: Codec

    init(_ reader: StreamReader, _ codec: Codec) {
        self.reader = reader
        self.codec = codec
    }

    /// The next message; nil only after the server has said that the stream is complete.
    ///
    /// - Throws: what the server said; `unavailable` and ambiguous when the stream breaks off.
    package func next() async throws(ConnectError) -> A? {
        let bytes: [UInt8]?
        do throws(CallFailure) {
            bytes = try await reader.next()
        } catch {
            throw error.error
        }
        guard let bytes else { return nil }
        do throws(ConnectError) {
            return try codec.decode(bytes)
        } catch {
            throw ConnectError(.internal, error.message, isAmbiguous: true)
        }
    }
}

/// Where the messages for a server go. For the task that it was given to.
package final class ConnectSink<Q: Message> {
    private let exchange: Exchange
    private let configuration: ConnectClientConfiguration
    /// Whether the server has answered already.
    private(set) var wasRefused = false

    init(_ exchange: Exchange, _ configuration: ConnectClientConfiguration) {
        self.exchange = exchange
        self.configuration = configuration
    }

    /// Sends a message; returns when the connection has taken it.
    ///
    /// - Throws: also when the server has answered and wants nothing more; `clientStream` then says what it answered.
    package func send(_ message: Q) async throws(ConnectError) {
        let bytes = try configuration.envelope(message).encoded()
        do throws(CallFailure) {
            wasRefused = wasRefused ? true : !(try await exchange.write(bytes))
        } catch {
            throw error.error
        }
        if wasRefused { throw ConnectError(.aborted, "the server has answered before the request was complete") }
    }
}
