package import Connect

extension DepotProvider {
    /// Where the API is, who asks, and how long each answer is awaited.
    package struct Configuration: Sendable {
        /// Depot's own API.
        package static let depotURL = "https://api.depot.dev"

        /// How this provider is called in configuration and messages.
        package var name: String
        /// `https://…`, `http://…` or `unix:PATH`.
        package var url: String
        /// Read for each request, so that it may change; `nil`, or without a value, none is sent.
        package var token: (@Sendable () async throws -> String?)?
        /// Where a token is given, for messages.
        package var tokenSource = "DEPOT_TOKEN or --token"
        /// Where a file of certificates is named, for messages.
        package var caSource = "SNAPWF_API_CA_FILE"
        /// The organisation that an organisation-wide token acts for.
        package var organization: String?
        /// A file of PEM certificates that are trusted besides the system's.
        package var caFile: String?
        /// Where HTTP_PROXY, HTTPS_PROXY and NO_PROXY are looked up; `nil` for no proxy.
        package var proxyEnvironment: [String: String]?
        /// Called at the boundaries of each request, so that a test can die exactly there.
        package var observer: ConnectClientConfiguration.Observer?
        /// Told of each request that failed, whether or not it is sent again; it must return at once.
        package var onFailure: (@Sendable (ConnectError) -> Void)?
        /// How long a sandbox may exist before a list shows it.
        package var listingLag: Duration = .seconds(60)
        /// By how much the API's clock and this host's may differ. Only what a filter by time leaves out depends on it.
        package var clockSkew: Duration = .seconds(3600)
        /// How long a new sandbox may take until it runs.
        package var startPatience: Duration = .seconds(300)
        /// How long a killed sandbox may take until it is over.
        package var killPatience: Duration = .seconds(60)
        /// The first pause between two looks at a sandbox; they double up to ten times as much.
        package var pollPause: Duration = .milliseconds(300)
        /// How long one answer that takes no work may take, with the client's own repetitions.
        package var answerPatience: Duration = .seconds(60)
        package var retry = RetryPolicy()

        package init(
            name: String = "depot", url: String = Configuration.depotURL,
            token: (@Sendable () async throws -> String?)? = nil, organization: String? = nil
        ) {
            self.name = name
            self.url = url
            self.token = token
            self.organization = organization
        }

        /// - Throws: `invalidArgument` for an address that is none.
        func client() throws(SandboxError) -> (ConnectClient, address: String) {
            do throws(ConnectError) {
                let address = try ServerAddress(url)
                var settings = ConnectClientConfiguration(address: address, headers: headers)
                settings.acceptsCompression = !address.isOnThisMachine
                settings.caFile = caFile
                settings.proxyEnvironment = proxyEnvironment
                settings.observer = observer
                settings.onFailure = onFailure
                settings.retry = retry
                return (try ConnectClient(settings), address.description)
            } catch {
                throw SandboxError(
                    .invalidArgument, "the API of \(name) cannot be used: \(error.message)", cause: error)
            }
        }

        private var headers: ConnectClientConfiguration.Headers {
            let (token, organization) = (token, organization)
            return { () throws(ConnectError) in
                var headers: [(name: String, value: String)] = []
                do {
                    if let token = try await token?(), !token.isEmpty {
                        headers.append(("authorization", "Bearer \(token)"))
                    }
                } catch {
                    throw ConnectError(.unauthenticated, "the token cannot be read: \(error)")
                }
                if let organization { headers.append(("x-depot-org", organization)) }
                return headers
            }
        }
    }
}

/// Pauses between looks at something that will come: they double up to ten times the first.
struct PollPauses: Sendable {
    private var next: Duration
    private let longest: Duration

    init(first: Duration) {
        next = first
        longest = first * 10
    }

    mutating func pause() async throws {
        let now = next
        next = min(next * 2, longest)
        try await Task.sleep(for: now)
    }
}
