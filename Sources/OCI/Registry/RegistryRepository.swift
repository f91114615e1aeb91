internal import Logging
internal import NIOHTTP1

/// One repository of a registry: requests with credentials and retries (OCI distribution specification, "Pull").
struct RegistryRepository: Sendable {
    let host: String
    let repository: String
    let transport: RegistryTransport
    let authorizer: RegistryAuthorizer
    let logger: Logger

    var options: RegistryOptions { transport.options }

    /// `ghcr.io/acme/app`.
    var name: String { "\(host)/\(repository)" }

    /// One try: asks for `path` below the repository and answers challenges. Only successes are returned.
    func get(
        _ path: String, headers: HTTPHeaders = [:], what: String,
        failure: (RegistryAnswer) -> RequestFailure
    ) async throws(RequestFailure) -> RegistryTransport.Answer {
        try await exchange(
            RegistryTransport.Request(address: try address(path), headers: headers), failure: failure)
    }

    /// The address of what has this path below the repository.
    func address(_ path: String) throws(RequestFailure) -> WebAddress {
        guard let base = options.address(ofRegistry: host),
            let address = WebAddress("/v2/\(repository)/\(path)", relativeTo: base)
        else {
            throw RequestFailure(.invalidReference, "\(printable(name)) cannot be made into a web address")
        }
        return address
    }

    /// One try of any request. Only the registry itself is sent credentials and has its challenges answered, not a place
    /// that it names for uploads elsewhere.
    func exchange(
        _ unsigned: RegistryTransport.Request, failure: (RegistryAnswer) -> RequestFailure
    ) async throws(RequestFailure) -> RegistryTransport.Answer {
        var request = unsigned
        let registry = try address("").origin
        let isOwn = request.address.origin == registry
        if isOwn { request.authorization = try await authorizer.authorization() }
        var isFresh = false
        while true {
            let answer = try await transport.send(request)
            if answer.isSuccess { return answer }
            let words = await RegistryAnswer(answer, within: options.timeouts.head)
            // Storage behind a redirect may say 401 as well; that is no question for the registry's credentials.
            guard answer.status == 401, isOwn, answer.address.origin == registry else { throw failure(words) }
            guard !isFresh else {
                let refused = await authorizer.refused()
                throw RequestFailure(refused.error.code, refused.error.message + words.ownWords)
            }
            request.authorization = try await authorizer.authorization(
                answering: Challenge.parse(answer.response.headers["www-authenticate"]),
                rejected: request.authorization)
            isFresh = true
        }
    }

    /// Repeats `attempt` as the policy allows, with growing waits.
    ///
    /// - Parameter limit: whose it is when the document is too large.
    func retrying<Value: Sendable>(
        _ what: String, limit: DocumentLimits.Name, _ attempt: () async throws(RequestFailure) -> Value
    ) async throws(OCIError) -> Value {
        var failures = 0
        while true {
            do throws(RequestFailure) {
                return try await attempt()
            } catch {
                failures += 1
                guard await waitToRetry(what, failures: failures, failure: error) else {
                    throw final(error.error, failures: failures).exceeding(limit)
                }
            }
        }
    }

    /// Waits as long as it is right before the next try; false when there should be none.
    func waitToRetry(_ what: String, failures: Int, failure: RequestFailure) async -> Bool {
        guard !Task.isCancelled,
            options.retries.allowsRetry(
                afterFailures: failures, error: failure.error, retryAfter: failure.retryAfter)
        else { return false }
        let delay = options.retries.delay(
            afterFailures: failures, retryAfter: failure.retryAfter, random: .random(in: 0...1))
        logger.info(
            "a request failed and is tried again",
            metadata: [
                "what": "\(what)", "failures": "\(failures)", "delay": "\(delay.shown)",
                "error": "\(failure.error.message)",
            ])
        return await sleep(delay)
    }

    func final(_ error: OCIError, failures: Int) -> OCIError {
        guard failures > 1 else { return error }
        return OCIError(
            error.code, "\(error.message) (given up after \(failures) tries)", cause: error.cause,
            retryable: error.isRetryable)
    }
}
