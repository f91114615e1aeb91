internal import FoundationEssentials
internal import Logging
internal import NIOHTTP1

/// What is to be done in a repository: the actions of a token's scope.
enum RepositoryAccess: String, Sendable {
    case pull
    case push = "pull,push"
}

/// Gets and keeps what the registry wants in `Authorization` for one repository.
///
/// Nothing is sent before the registry asks for it. Tokens live in memory only, and are renewed before they expire.
/// Token protocol: distribution project, "Token Authentication Specification" and "OAuth2 Token Authentication".
actor RegistryAuthorizer {
    private struct Token: Sendable {
        let header: String
        let expires: ContinuousClock.Instant
    }

    private enum State {
        case anonymous
        /// A header that the registry has not refused: it does not expire by itself.
        case fixed(String)
        case bearer(Bearer, Token)
    }

    /// What a `Bearer` challenge asks for.
    private struct Bearer: Sendable, Hashable {
        let realm: WebAddress
        let service: String?
        let scopes: [String]
    }

    private struct Renewal {
        let bearer: Bearer
        let task: Task<Result<Token, RequestFailure>, Never>
    }

    /// Larger answers of a token server are refused.
    static let tokenSizeLimit = 1 << 20

    private let host: String
    private let repository: String
    private let access: RepositoryAccess
    private let transport: RegistryTransport
    private let store: any CredentialStore
    private let logger: Logger
    private var state = State.anonymous
    private var renewal: Renewal?

    init(
        host: String, repository: String, access: RepositoryAccess = .pull, transport: RegistryTransport,
        store: any CredentialStore, logger: Logger
    ) {
        self.host = host
        self.repository = repository
        self.access = access
        self.transport = transport
        self.store = store
        self.logger = logger
    }

    /// What to send with the next request, nil for nothing. Renews a token that is about to expire.
    func authorization() async throws(RequestFailure) -> String? {
        switch state {
        case .anonymous: return nil
        case .fixed(let header): return header
        case .bearer(let bearer, let token):
            if ContinuousClock.now < token.expires { return token.header }
            return try await renewed(bearer)
        }
    }

    /// What to send after the registry answered 401 to a request with `rejected`.
    func authorization(
        answering challenges: [Challenge], rejected: String?
    ) async throws(RequestFailure) -> String {
        // Somebody else may have got a new token meanwhile.
        switch state {
        case .fixed(let header) where header != rejected: return header
        case .bearer(_, let token) where token.header != rejected && ContinuousClock.now < token.expires:
            return token.header
        default: break
        }
        if let challenge = challenges.first(where: { $0.scheme == "bearer" }) {
            return try await renewed(try bearer(challenge))
        }
        guard challenges.contains(where: { $0.scheme == "basic" }) else {
            let schemes = challenges.map { printable($0.scheme, limit: 30) }.joined(separator: ", ")
            throw RequestFailure(
                .unauthorized,
                "\(host) wants an authentication that is not supported (\(schemes.isEmpty ? "it names none" : schemes))"
            )
        }
        guard let credentials = try await credentials() else { throw missingCredentials() }
        let header: String
        switch credentials.kind {
        case .basic(let username, let password): header = Self.basic(username, password)
        case .registryToken(let token): header = "Bearer \(token)"
        case .identityToken:
            throw RequestFailure(
                .unauthorized, "\(host) wants a user name and password; there is only an identity token for it")
        }
        guard header != rejected else { throw refusedCredentials() }
        state = .fixed(header)
        return header
    }

    /// The registry did not take what `authorization(answering:rejected:)` gave.
    func refused() async -> RequestFailure {
        do throws(RequestFailure) {
            return try await credentials() == nil ? missingCredentials() : refusedCredentials()
        } catch {
            return error
        }
    }

    // MARK: Tokens

    private func bearer(_ challenge: Challenge) throws(RequestFailure) -> Bearer {
        guard let text = challenge.parameters["realm"], let realm = WebAddress(text) else {
            throw RequestFailure(.invalidResponse, "\(host) asks for a token but does not say where to get it")
        }
        guard realm.origin.isEncrypted || transport.options.mayUsePlainHTTP(realm.origin) else {
            throw RequestFailure(
                .invalidResponse,
                "\(host) sends to \(realm.redacted) for tokens, which is not encrypted: refused")
        }
        let own = "repository:\(repository):"
        var scopes = challenge.parameters["scope"].map { [$0] } ?? ["\(own)\(access.rawValue)"]
        if access == .push {
            // One token for all that a push asks: to look whether a blob is there needs less than to send it.
            scopes = scopes.filter { !$0.hasPrefix(own) } + ["\(own)\(access.rawValue)"]
        }
        return Bearer(realm: realm, service: challenge.parameters["service"], scopes: scopes)
    }

    /// A new token; requests that need one at the same time share it.
    private func renewed(_ bearer: Bearer) async throws(RequestFailure) -> String {
        let task: Task<Result<Token, RequestFailure>, Never>
        if let running = renewal, running.bearer == bearer {
            task = running.task
        } else {
            task = Task {
                do throws(RequestFailure) {
                    return .success(try await self.fetch(bearer))
                } catch {
                    return .failure(error)
                }
            }
            renewal = Renewal(bearer: bearer, task: task)
        }
        let result = await task.value
        if renewal?.task == task { renewal = nil }
        let token = try result.get()
        state = .bearer(bearer, token)
        return token.header
    }

    private func fetch(_ bearer: Bearer) async throws(RequestFailure) -> Token {
        let credentials = try await credentials()
        if case .registryToken(let token)? = credentials?.kind {
            return Token(header: "Bearer \(token)", expires: .now + .seconds(3600))
        }
        let request = try tokenRequest(bearer, credentials)
        let asked = ContinuousClock.now
        let what = "the token of \(bearer.realm.redacted)"
        let transport = transport
        let answer = try await withDeadline(transport.options.timeouts.document, what) {
            () async throws(RequestFailure) -> Result<[UInt8], RegistryAnswer> in
            let answer = try await transport.send(request)
            guard answer.isSuccess else {
                return .failure(await RegistryAnswer(answer, within: transport.options.timeouts.head))
            }
            return .success(try await answer.document(limit: Self.tokenSizeLimit, what: what))
        }
        switch answer {
        case .success(let bytes):
            logger.debug("got a token", metadata: ["realm": "\(bearer.realm.redacted)"])
            return try Self.token(bytes, asked: asked, what: what)
        case .failure(let answer):
            guard answer.status == 401 || answer.status == 403 || answer.status == 400 else {
                throw answer.failure(what, host: host)
            }
            let failure = credentials == nil ? missingCredentials() : refusedCredentials()
            throw RequestFailure(failure.error.code, failure.error.message + answer.ownWords)
        }
    }

    private func tokenRequest(
        _ bearer: Bearer, _ credentials: Credentials?
    ) throws(RequestFailure) -> RegistryTransport.Request {
        var fields = bearer.scopes.map { (name: "scope", value: $0) }
        if let service = bearer.service { fields.insert((name: "service", value: service), at: 0) }
        if case .identityToken(let token)? = credentials?.kind {
            fields += [
                (name: "grant_type", value: "refresh_token"), (name: "client_id", value: "snapwf"),
                (name: "refresh_token", value: token),
            ]
            let form = fields.map { "\(percentEncoded($0.name))=\(percentEncoded($0.value))" }.joined(separator: "&")
            return RegistryTransport.Request(
                method: .POST, address: bearer.realm,
                headers: ["content-type": "application/x-www-form-urlencoded"], body: Array(form.utf8))
        }
        guard let address = bearer.realm.adding(query: fields) else {
            throw RequestFailure(.invalidResponse, "\(host) asks for a token at an address that is none")
        }
        var request = RegistryTransport.Request(address: address)
        if case .basic(let username, let password)? = credentials?.kind {
            request.authorization = Self.basic(username, password)
        }
        return request
    }

    private struct TokenAnswer: Decodable {
        var token: String?
        var accessToken: String?
        var expiresIn: Double?

        enum CodingKeys: String, CodingKey {
            case token
            case accessToken = "access_token"
            case expiresIn = "expires_in"
        }
    }

    /// A token that says nothing lives for 60 seconds, by the specification. It is taken for dead a tenth earlier.
    private static func token(
        _ bytes: [UInt8], asked: ContinuousClock.Instant, what: String
    ) throws(RequestFailure) -> Token {
        let answer: TokenAnswer
        do {
            answer = try decodeJSON(TokenAnswer.self, bytes, what: what)
        } catch {
            // The decoder's own words could repeat a piece of the token.
            throw RequestFailure(.invalidResponse, "\(what) is not what the token specification describes")
        }
        guard let token = [answer.token, answer.accessToken].lazy.compactMap({ $0 }).first(where: { !$0.isEmpty }),
            token.utf8.allSatisfy({ (0x21...0x7e).contains($0) })
        else {
            throw RequestFailure(.invalidResponse, "\(what) is empty or has characters that no token has")
        }
        let lifetime = max(0, min(answer.expiresIn ?? 60, 24 * 3600))
        return Token(header: "Bearer \(token)", expires: asked + .milliseconds(Int64(lifetime * 900)))
    }

    // MARK: Credentials

    private func credentials() async throws(RequestFailure) -> Credentials? {
        do {
            return try await store.credentials(forRegistry: host)
        } catch {
            throw RequestFailure(error)
        }
    }

    private static func basic(_ username: String, _ password: String) -> String {
        "Basic " + Data("\(username):\(password)".utf8).base64EncodedString()
    }

    private func missingCredentials() -> RequestFailure {
        RequestFailure(
            .unauthorized,
            "\(host)/\(repository) does not exist or is private, and there are no credentials for \(host): "
                + "check the name, or log in with: docker login \(host)")
    }

    private func refusedCredentials() -> RequestFailure {
        RequestFailure(
            .unauthorized,
            "the registry refused the credentials for \(host) (for \(repository)): log in with: docker login \(host)")
    }
}
