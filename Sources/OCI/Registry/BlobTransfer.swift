internal import Logging
internal import NIOCore
internal import NIOHTTP1
internal import Synchronization

/// Brings the bytes of one blob into a pipe, over as many connections as it takes.
///
/// A connection that breaks is followed by one that asks for the rest (RFC 9110, 14: Range requests).
struct BlobTransfer: Sendable {
    /// So much on one connection is progress: the count of failures in a row begins anew. No more than comes with the
    /// head of an answer, because that may be all that is left of a connection that breaks before its body was asked for.
    private static let progress: Int64 = 1 << 10
    /// But a blob that takes more connections than this is given up.
    private static let mostConnections = 1000

    let descriptor: Descriptor
    let name: String
    let repository: RegistryRepository
    let pipe: BlobPipe

    init(_ descriptor: Descriptor, name: String, repository: RegistryRepository, pipe: BlobPipe) {
        self.descriptor = descriptor
        self.name = name
        self.repository = repository
        self.pipe = pipe
    }

    /// Ends when the blob is complete, has failed for good, or nobody reads it any more.
    func run() async {
        do throws(RequestFailure) {
            try await withDeadline(repository.options.timeouts.blob, name) { () async throws(RequestFailure) in
                try await transferAll()
            }
            pipe.finish(.success(()))
        } catch {
            pipe.finish(.failure(error.error))
        }
    }

    private func transferAll() async throws(RequestFailure) {
        var failures = 0
        var connections = 0
        while true {
            // A reader that is busy elsewhere must not keep a connection open that the server then gives up.
            guard await pipe.waitForSpace() else { throw closed() }
            let before = pipe.received
            do throws(RequestFailure) {
                try await transferRest(from: before)
                return
            } catch {
                if pipe.isClosed { throw closed() }
                if pipe.received - before >= Self.progress { failures = 0 }
                failures += 1
                connections += 1
                guard connections < Self.mostConnections,
                    await repository.waitToRetry(name, failures: failures, failure: error)
                else {
                    throw RequestFailure(repository.final(error.error, failures: failures))
                }
            }
        }
    }

    /// One connection: from `offset` to the end, or until it breaks.
    private func transferRest(from offset: Int64) async throws(RequestFailure) {
        try await withStallLimit(repository.options.timeouts.stall, name) {
            (wait: NetworkWait) async throws(RequestFailure) in
            // The head has a limit of its own.
            let (answer, start) = try await request(from: offset)
            let position = Position(start)
            wait.begin()
            try await answer.receive { (piece) throws(RequestFailure) -> Bool in
                wait.end()
                let start = position.advance(by: piece.readableBytes)
                guard Int64(piece.readableBytes) <= descriptor.size - start else {
                    throw RequestFailure(
                        .sizeMismatch,
                        "\(name) is larger than the \(descriptor.size) bytes that its descriptor states")
                }
                let appended = pipe.append(piece, at: start) { [weak answer] in
                    // Not before: time that the reader takes is no time in which nothing comes.
                    wait.begin()
                    answer?.resume()
                }
                guard appended != .closed else { throw closed() }
                if appended == .room { wait.begin() }
                return appended == .room
            }
            let received = pipe.received
            guard received == descriptor.size else {
                throw RequestFailure(
                    .sizeMismatch,
                    "\(name) ends after \(received) bytes; its descriptor states \(descriptor.size)", retryable: true)
            }
        }
    }

    /// Where in the blob the next piece of an answer stands.
    private final class Position: Sendable {
        private let next: Mutex<Int64>

        init(_ start: Int64) { next = Mutex(start) }

        /// The position before.
        func advance(by count: Int) -> Int64 {
            next.withLock { next in
                defer { next += Int64(count) }
                return next
            }
        }
    }

    /// Asks for the blob from `offset` on; returns the answer and the offset at which it really begins.
    private func request(from offset: Int64) async throws(RequestFailure) -> (RegistryTransport.Answer, Int64) {
        var headers = HTTPHeaders()
        if offset > 0 { headers.add(name: "range", value: "bytes=\(offset)-") }
        let answer = try await repository.get("blobs/\(descriptor.digest)", headers: headers, what: name) {
            failure($0)
        }
        var start: Int64 = 0
        if answer.status == 206 {
            guard let range = answer.response.headers.first(name: "content-range"),
                let first = Self.firstByte(ofContentRange: range), first <= offset
            else {
                throw RequestFailure(
                    .invalidResponse, "\(answer.address.redacted) sent another part of \(name) than it was asked for")
            }
            start = first
        }
        if let length = answer.contentLength, length != descriptor.size - start {
            throw RequestFailure(
                .sizeMismatch,
                "\(name): \(answer.address.origin) announces \(length) bytes from \(start) on; "
                    + "the descriptor states \(descriptor.size) in all")
        }
        return (answer, start)
    }

    /// `bytes 100-199/200` → 100.
    static func firstByte(ofContentRange value: String) -> Int64? {
        guard value.lowercased().hasPrefix("bytes ") else { return nil }
        let digits = value.dropFirst(6).prefix { $0 != "-" }
        return Int64(digits).flatMap { $0 >= 0 ? $0 : nil }
    }

    private func failure(_ answer: RegistryAnswer) -> RequestFailure {
        if answer.status == 416 {
            return RequestFailure(.sizeMismatch, "\(name) is shorter than its descriptor states\(answer.ownWords)")
        }
        return answer.failure(name, host: repository.host)
    }

    private func closed() -> RequestFailure {
        RequestFailure(.cancelled, "the transfer of \(name) was cancelled")
    }
}
