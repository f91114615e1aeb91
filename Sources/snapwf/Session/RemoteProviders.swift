import Connect
import FoundationEssentials
import Sandbox
import SnapshotSteps
import Synchronization

/// Who wants to know what is asked of providers elsewhere, and when one of them has enough. Both must return at once.
struct ProviderWatch: Sendable {
    let asked: @Sendable (SandboxPlace) -> Void
    /// With whether it was refused for being one too many (HTTP 429), and how long the provider wants to be left alone.
    let failed: @Sendable (SandboxPlace, Bool, Duration?) -> Void
}

/// The providers of places elsewhere, each made once. Tokens are read when they are used and kept nowhere.
final class RemoteProviders: Sendable {
    private let variables: [String: String]
    private let points: CrashPoints?
    private let watch: ProviderWatch?
    private let state = Mutex(State())

    private struct State {
        var made: [SandboxPlace: DepotProvider] = [:]
        /// The place that this command is about, and the token that the command line gives for it.
        var named: SandboxPlace?
        var token: String?
    }

    init(variables: [String: String], points: CrashPoints?, watch: ProviderWatch? = nil) {
        self.variables = variables
        self.points = points
        self.watch = watch
    }

    /// Says which place the command is about; before any provider is made.
    ///
    /// - Parameter token: from the command line, for this place and no other.
    func name(_ place: SandboxPlace, token: String?) {
        state.withLock { state in
            state.named = place
            state.token = token
        }
    }

    func provider(url: String, organization: String?) throws -> DepotProvider {
        try state.withLock { state in
            let place = SandboxPlace.api(url: url, organization: organization)
            if let provider = state.made[place] { return provider }
            var configuration = DepotProvider.Configuration(
                name: isDepot(url) ? "depot" : "api", url: url,
                token: tokenSource(url, isNamed: state.named == place, given: state.token), organization: organization)
            configuration.tokenSource = "\(tokenVariable(url)) or --token"
            configuration.caFile = nonEmpty(variables["SNAPWF_API_CA_FILE"])
            configuration.proxyEnvironment = variables
            if points != nil || watch != nil {
                configuration.observer = { [points, watch] event in
                    points?.pass("api:\(event.method.split(separator: "/").last ?? "").\(event.point.rawValue)")
                    if event.point == .beforeSend { watch?.asked(place) }
                }
            }
            if let watch {
                configuration.onFailure = { watch.failed(place, $0.httpStatus == 429, $0.retryAfter) }
            }
            if let lag = nonEmpty(variables["SNAPWF_API_LISTING_LAG"]).flatMap(Span.init(argument:)) {
                configuration.listingLag = .seconds(lag.seconds)
            }
            let provider = try DepotProvider(configuration)
            state.made[place] = provider
            return provider
        }
    }

    /// Depot's token goes to Depot's address only, the other one to where `--api` went; but over a network in clear text
    /// only to the place that this command is about.
    private func tokenSource(
        _ url: String, isNamed: Bool, given: String?
    ) -> (@Sendable () async throws -> String?)? {
        if isNamed, let given { return { given } }
        let isPrivate = url.hasPrefix("https:") || (try? ServerAddress(url).isOnThisMachine) == true
        guard isNamed || isPrivate, let token = nonEmpty(variables[tokenVariable(url)]) else { return nil }
        return { token }
    }

    private func tokenVariable(_ url: String) -> String { isDepot(url) ? "DEPOT_TOKEN" : "SNAPWF_TOKEN" }

    private func isDepot(_ url: String) -> Bool { Self.isDepot(url, variables) }

    /// Whether an address is Depot's, or the one that stands for it.
    static func isDepot(_ url: String, _ variables: [String: String]) -> Bool {
        url == DepotProvider.Configuration.depotURL
            || nonEmpty(variables["DEPOT_API_URL"]).map { (try? ServerAddress($0).description) == url } ?? false
    }

    func shutdown() async {
        let all = state.withLock { state in
            defer { state.made = [:] }
            return Array(state.made.values)
        }
        for provider in all { await provider.shutdown() }
    }
}
