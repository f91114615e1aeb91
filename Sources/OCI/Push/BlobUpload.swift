internal import NIOHTTP1

/// Sends one blob, over as many requests as it takes (OCI distribution specification, "Pushing blobs").
///
/// The blob goes in pieces, each answered with where the next one goes. What breaks is asked about: the registry says how
/// many bytes it has, and the upload goes on there. Where a registry has lost the upload it begins anew; where it takes no
/// pieces, the blob goes in one request.
struct BlobUpload: Sendable {
    /// Of one request, unless the registry wants more. A registry that keeps only whole requests loses so much.
    private static let pieceSize = 8 << 20
    /// Beginning anew more often is no progress.
    private static let mostStarts = 4

    private enum Failure: Error {
        case request(RequestFailure)
        /// The registry does not know this upload as we do.
        case lost(RequestFailure)
    }

    /// Where the upload stands.
    private struct Position {
        var address: WebAddress
        var offset: Int
    }

    let name: String
    private let bytes: [UInt8]
    private let descriptor: Descriptor
    private let repository: RegistryRepository
    private let saved: @Sendable (String?) -> Void
    private let sent: @Sendable (Int) -> Void

    private var position: Position?
    /// Not yet asked about.
    private var remembered: WebAddress?
    private var pieceSize = BlobUpload.pieceSize
    private var takesPieces = true
    private var starts = 0
    /// The largest offset so far.
    private var reached = 0

    init(
        _ bytes: [UInt8], _ descriptor: Descriptor, repository: RegistryRepository,
        saved: @escaping @Sendable (String?) -> Void, sent: @escaping @Sendable (Int) -> Void
    ) {
        name = "blob \(descriptor.digest.short) of \(repository.name)"
        self.bytes = bytes
        self.descriptor = descriptor
        self.repository = repository
        self.saved = saved
        self.sent = sent
    }

    /// Goes on with an upload of another process, if the registry still knows it.
    mutating func resume(at location: String?) {
        guard let location, let base = try? repository.address("") else { return }
        // Written down by somebody who is trusted no more than the registry is.
        remembered = try? repository.transport.target(ofRedirect: location, from: base)
    }

    mutating func run() async throws(RequestFailure) {
        var failures = 0
        while true {
            let before = reached
            do throws(Failure) {
                try await step()
                return saved(nil)
            } catch {
                let failure: RequestFailure
                switch error {
                case .request(let cause):
                    failure = cause
                    if let position { remembered = position.address }
                case .lost(let cause):
                    failure = cause
                    remembered = nil
                    saved(nil)
                    guard starts < Self.mostStarts else { throw cause }
                }
                position = nil
                failures = reached > before ? 1 : failures + 1
                if case .lost = error { continue }
                guard await repository.waitToRetry(name, failures: failures, failure: failure) else {
                    throw RequestFailure(repository.final(failure.error, failures: failures))
                }
            }
        }
    }

    /// From where the upload stands to its end.
    private mutating func step() async throws(Failure) {
        if let address = remembered {
            remembered = nil
            position = try await standing(at: address)
        }
        if position == nil {
            // A request that broke may have been the last one.
            if starts > 0,
                try await tried({ () async throws(RequestFailure) in
                    try await repository.hasBlob(descriptor.digest, what: name)
                })
            {
                return
            }
            position = try await start()
        }
        guard var current = position else { return }
        while takesPieces, current.offset < bytes.count {
            current = try await send(from: current)
            position = current
            reached = max(reached, current.offset)
            saved(current.address.text)
        }
        try await finish(current)
    }

    // MARK: Requests

    private mutating func start() async throws(Failure) -> Position {
        starts += 1
        var request = RegistryTransport.Request(
            method: .POST, address: try tried { () throws(RequestFailure) in try repository.address("blobs/uploads/") },
            headers: ["content-length": "0"])
        request.isUpload = true
        let answer = try await exchange(request)
        let next = try location(of: answer)
        if let least = answer.response.headers.first(name: "oci-chunk-min-length").flatMap({ Int($0) }) {
            pieceSize = max(pieceSize, min(least, max(bytes.count, 1)))
        }
        await answer.discard(within: repository.options.timeouts.head)
        saved(next.text)
        return Position(address: next, offset: 0)
    }

    private mutating func send(from position: Position) async throws(Failure) -> Position {
        let end = min(bytes.count, position.offset + pieceSize)
        var request = RegistryTransport.Request(
            method: .PATCH, address: position.address,
            headers: [
                "content-type": "application/octet-stream", "content-range": "\(position.offset)-\(end - 1)",
            ], body: Array(bytes[position.offset..<end]))
        request.isUpload = true
        sent(end - position.offset)
        let answer: RegistryTransport.Answer
        do throws(Failure) {
            answer = try await exchange(request)
        } catch {
            // A registry that refuses the first piece may take none at all.
            if case .lost = error, position.offset == 0 { takesPieces = false }
            throw error
        }
        let next = try location(of: answer)
        // Fewer bytes than were sent may be kept; more cannot be.
        let kept = Self.count(ofRange: answer.response.headers.first(name: "range")) ?? end
        await answer.discard(within: repository.options.timeouts.head)
        guard kept > position.offset, kept <= end else {
            throw .lost(
                RequestFailure(
                    .invalidResponse,
                    "\(repository.host) says that it has \(kept) bytes of \(name), of which \(end) were sent"))
        }
        return Position(address: next, offset: kept)
    }

    private func finish(_ position: Position) async throws(Failure) {
        guard let address = position.address.adding(query: [(name: "digest", value: "\(descriptor.digest)")]) else {
            throw .request(RequestFailure(.invalidResponse, "\(repository.host) names no address to end \(name) at"))
        }
        let rest = Array(bytes[position.offset...])
        var request = RegistryTransport.Request(
            method: .PUT, address: address,
            headers: rest.isEmpty ? ["content-length": "0"] : ["content-type": "application/octet-stream"],
            body: rest.isEmpty ? nil : rest)
        request.isUpload = true
        sent(rest.count)
        let answer = try await exchange(request)
        await answer.discard(within: repository.options.timeouts.head)
    }

    /// How much of the blob the registry has; nil when it does not know the upload any more.
    private func standing(at address: WebAddress) async throws(Failure) -> Position? {
        let answer: RegistryTransport.Answer
        do throws(Failure) {
            answer = try await exchange(RegistryTransport.Request(address: address))
        } catch {
            if case .lost = error {
                saved(nil)
                return nil
            }
            throw error
        }
        await answer.discard(within: repository.options.timeouts.head)
        // Without the header nothing is known. "0-0" is one byte or, in the distribution's own registry, none: then
        // there is nothing to win by knowing.
        guard let count = Self.count(ofRange: answer.response.headers.first(name: "range")), count > 1,
            count <= bytes.count
        else {
            saved(nil)
            return nil
        }
        let next = answer.response.headers.first(name: "location") == nil ? address : try location(of: answer)
        saved(next.text)
        return Position(address: next, offset: count)
    }

    /// `0-99` → 100; some registries write `bytes=0-99`.
    static func count(ofRange value: String?) -> Int? {
        guard let value else { return nil }
        let parts = value.drop { !$0.isNumber }.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0] == "0", let last = Int(parts[1]), last >= 0, last < Int.max else {
            return nil
        }
        return last + 1
    }

    private func location(of answer: RegistryTransport.Answer) throws(Failure) -> WebAddress {
        guard let location = answer.response.headers.first(name: "location") else {
            throw .request(
                RequestFailure(.invalidResponse, "\(repository.host) does not say where \(name) is to be sent"))
        }
        return try tried { () throws(RequestFailure) in
            try repository.transport.target(ofRedirect: location, from: answer.address)
        }
    }

    private func exchange(_ request: RegistryTransport.Request) async throws(Failure) -> RegistryTransport.Answer {
        do throws(RequestFailure) {
            return try await repository.exchange(request) { answer in
                var failure = repository.pushFailure(answer, name)
                failure.status = answer.status
                return failure
            }
        } catch {
            switch error.status {
            // Unknown upload, wrong digest or range, wrong method: asking the same again gives the same answer.
            case 400, 404, 405, 409, 410, 411, 415, 416, 501: throw .lost(error)
            default: throw .request(error)
            }
        }
    }

    private func tried<Value>(_ body: () throws(RequestFailure) -> Value) throws(Failure) -> Value {
        do throws(RequestFailure) {
            return try body()
        } catch {
            throw .request(error)
        }
    }

    private func tried<Value>(
        _ body: () async throws(RequestFailure) -> Value
    ) async throws(Failure) -> Value {
        do throws(RequestFailure) {
            return try await body()
        } catch {
            throw .request(error)
        }
    }
}
