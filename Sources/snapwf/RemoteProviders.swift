import Connect
import FoundationEssentials
import Sandbox
import SnapshotSteps
import Synchronization

/// The providers of places elsewhere, each made once. Tokens are read when they are used and kept nowhere.
final class RemoteProviders: Sendable {
    private let variables: [String: String]
    private let token: String?
    private let points: CrashPoints?
    private let made = Mutex<[SandboxPlace: DepotProvider]>([:])

    /// - Parameter token: from the command line.
    init(variables: [String: String], token: String?, points: CrashPoints?) {
        self.variables = variables
        self.token = token
        self.points = points
    }

    func provider(url: String, organization: String?) throws -> DepotProvider {
        try made.withLock { made in
            let place = SandboxPlace.api(url: url, organization: organization)
            if let provider = made[place] { return provider }
            var configuration = DepotProvider.Configuration(
                name: isDepot(url) ? "depot" : "api", url: url, token: tokenSource(url),
                organization: organization)
            configuration.tokenSource = "\(tokenVariable(url)) or --token"
            configuration.caFile = nonEmpty(variables["SNAPWF_API_CA_FILE"])
            configuration.proxyEnvironment = variables
            if let points {
                configuration.observer = { event in
                    points.pass("api:\(event.method.split(separator: "/").last ?? "").\(event.point.rawValue)")
                }
            }
            if let lag = nonEmpty(variables["SNAPWF_API_LISTING_LAG"]).flatMap(Span.init(argument:)) {
                configuration.listingLag = .seconds(lag.seconds)
            }
            let provider = try DepotProvider(configuration)
            made[place] = provider
            return provider
        }
    }

    /// Depot's token goes to Depot's address only: an `--api` somewhere else never sees it.
    private func tokenSource(_ url: String) -> (@Sendable () async throws -> String?)? {
        if let token { return { token } }
        guard let token = nonEmpty(variables[tokenVariable(url)]) else { return nil }
        return { token }
    }

    private func tokenVariable(_ url: String) -> String { isDepot(url) ? "DEPOT_TOKEN" : "SNAPWF_TOKEN" }

    private func isDepot(_ url: String) -> Bool {
        url == DepotProvider.Configuration.depotURL || url == variables["DEPOT_API_URL"]
    }

    func shutdown() async {
        let all = made.withLock { made in
            defer { made = [:] }
            return Array(made.values)
        }
        for provider in all { await provider.shutdown() }
    }
}
