internal import NIOCore
internal import NIOHTTP1

/// Reads answers: which are of the protocol, and which are somebody else's.
struct UnaryAnswer {
    private let configuration: ConnectClientConfiguration
    /// An error's text need not be longer.
    private static let longestError = 1 << 20

    init(_ configuration: ConnectClientConfiguration) { self.configuration = configuration }

    /// The bytes of the message, decompressed.
    func read(_ exchange: Exchange) async throws(CallFailure) -> [UInt8] {
        let head = try await exchange.head()
        let type = mediaType(head.headers.first(name: "content-type") ?? "")
        guard head.status == .ok else { throw try await failure(exchange, head, type) }
        guard type == configuration.codec.unaryType else { throw foreign(head, type) }
        let bytes = try await body(exchange, limit: configuration.messageLimit)
        return try decoded(bytes, head)
    }

    /// What an answer says that is no success.
    func failure(_ exchange: Exchange, _ head: HTTPResponseHead, _ type: String) async throws(CallFailure)
        -> CallFailure
    {
        let status = Int(head.status.code)
        var error: ConnectError?
        if type == "application/json" {
            do throws(CallFailure) {
                error = ConnectError(json: try decoded(try await body(exchange, limit: Self.longestError), head))
            } catch {
                // A status that came is an answer, whatever became of its text.
            }
        }
        if var error {
            error.message = exchange.secrets.redacted(error.message)
            return answered(error, status, head)
        }
        return foreign(head, type)
    }

    /// An answer that no Connect server gives.
    func foreign(_ head: HTTPResponseHead, _ type: String) -> CallFailure {
        let status = Int(head.status.code)
        let code = ConnectError.Code(httpStatus: status)
        let form = type.isEmpty ? "" : ", \(ConnectError.shown(String(type.prefix(100))))"
        let target = configuration.address.description
        let message =
            switch status {
            case 401: "\(target) refuses the credentials (HTTP 401\(form))"
            case 403: "\(target) refuses the call (HTTP 403\(form))"
            case 429, 502, 503, 504: "\(target) cannot take the call now (HTTP \(status)\(form))"
            case 404:
                "\(target) does not know the call (HTTP 404\(form)): it is no Connect server, or an older one; "
                    + "is the address right?"
            default: "\(target) is no Connect server (it answered HTTP \(status)\(form)): is the address right?"
            }
        var error = ConnectError(code, message)
        error.isNotConnect = true
        return answered(error, status, head)
    }

    private func answered(_ error: ConnectError, _ status: Int, _ head: HTTPResponseHead) -> CallFailure {
        var error = error
        error.retryAfter = head.headers.first(name: "retry-after").flatMap(retryAfter)
        error.httpStatus = status
        error.isAmbiguous = status != 429 && error.code.leavesEffectOpen
        var failure = CallFailure(error, isPassing: error.code == .unavailable || status == 429)
        failure.isAnswer = true
        return failure
    }

    private func body(_ exchange: Exchange, limit: Int) async throws(CallFailure) -> [UInt8] {
        var bytes: [UInt8] = []
        while let piece = try await exchange.next() {
            guard piece.readableBytes <= limit - bytes.count else {
                throw CallFailure(.tooLarge(bytes.count + piece.readableBytes, limit: limit).ambiguous)
            }
            bytes += piece.readableBytesView
        }
        return bytes
    }

    private func decoded(_ bytes: [UInt8], _ head: HTTPResponseHead) throws(CallFailure) -> [UInt8] {
        let header = head.headers.first(name: "content-encoding")
        switch ContentEncoding(header: header) {
        case .identity: return bytes
        case .gzip:
            do throws(ConnectError) {
                return try Gzip.decompress(bytes, limit: configuration.messageLimit)
            } catch {
                throw CallFailure(ConnectError(.internal, error.message, isAmbiguous: true))
            }
        case nil:
            throw CallFailure(
                ConnectError(
                    .internal, "the answer is compressed in a way that was not asked for", isAmbiguous: true))
        }
    }

    /// `Retry-After` in seconds. As a date it is for caches, and would need a right clock on both sides.
    private func retryAfter(_ text: String) -> Duration? {
        guard let seconds = Int64(text), seconds >= 0 else { return nil }
        return .seconds(min(seconds, 1 << 32))
    }
}

extension ConnectError {
    var ambiguous: ConnectError {
        var error = self
        error.isAmbiguous = true
        return error
    }
}

extension ConnectError.Code {
    /// Whether a server that answers so may have carried out the call, or a part of it.
    var leavesEffectOpen: Bool {
        switch self {
        case .canceled, .unknown, .deadlineExceeded, .internal, .unavailable, .dataLoss: true
        case .invalidArgument, .notFound, .alreadyExists, .permissionDenied, .resourceExhausted, .failedPrecondition,
            .aborted, .outOfRange, .unimplemented, .unauthenticated:
            false
        }
    }
}
