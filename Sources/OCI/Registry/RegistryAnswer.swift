/// An answer of a registry that is no success, with the registry's own words.
struct RegistryAnswer: Error, Sendable {
    let status: Int
    let retryAfter: Duration?
    /// The first of the registry's errors (distribution specification, "Error Codes").
    let code: String?
    let detail: String?

    private struct Body: Decodable {
        struct Entry: Decodable {
            var code: String?
            var message: String?
        }

        var errors: [Entry]?
        var details: String?
    }

    /// - Parameter limit: how long the text of the answer may take.
    init(_ answer: RegistryTransport.Answer, within limit: Duration) async {
        status = answer.status
        retryAfter = answer.retryAfter
        let bytes = await answer.errorText(within: limit)
        var entry: Body.Entry?
        do throws(OCIError) {
            let body = try decodeJSON(Body.self, bytes, what: "the answer")
            entry = body.errors?.first ?? body.details.map { Body.Entry(code: nil, message: $0) }
        } catch {
            // A proxy's page or nothing at all: the status has to do.
        }
        code = entry?.code.map { printable($0, limit: 60) }
        detail = entry?.message.map { printable($0, limit: 300) }
    }

    /// ` (registry: DENIED: requested access to the resource is denied)`, or nothing.
    var ownWords: String {
        let words = [code, detail].compactMap { $0 }.filter { !$0.isEmpty }
        return words.isEmpty ? "" : " (registry: \(words.joined(separator: ": ")))"
    }

    /// What the answer means where nothing more is known than what was asked for.
    func failure(_ what: String, host: String) -> RequestFailure {
        let words = ownWords
        switch status {
        case 401:
            return RequestFailure(
                .unauthorized, "\(host) wants credentials for \(what): log in with: docker login \(host)\(words)")
        case 403:
            return RequestFailure(
                .denied,
                "\(host) denies access to \(what): ask its owner, or log in as another user with: docker login \(host)\(words)"
            )
        case 404:
            return RequestFailure(.notFound, "\(host) does not have \(what)\(words)")
        case 408:
            return RequestFailure(.timedOut, "\(host) says that the request for \(what) took too long\(words)")
        case 429:
            let wait = retryAfter.map { "after \($0.shown)" } ?? "later"
            return RequestFailure(
                OCIError(
                    .tooManyRequests,
                    "\(host) limits how often it is asked: try again \(wait); many registries allow more after docker login \(host)\(words)"
                ), retryAfter: retryAfter)
        case 500...599:
            return RequestFailure(
                OCIError(.serverError, "\(host) failed with HTTP status \(status) for \(what)\(words)"),
                retryAfter: retryAfter)
        default:
            return RequestFailure(.invalidResponse, "\(host) answered HTTP status \(status) for \(what)\(words)")
        }
    }
}
