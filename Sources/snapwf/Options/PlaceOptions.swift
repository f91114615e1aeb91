import ArgumentParser
import Connect
import Sandbox
import SnapshotSteps

/// Where sandboxes come from, on the command line and in the environment.
struct PlaceOptions: ParsableArguments {
    enum Kind: String, ExpressibleByArgument, CaseIterable { case local, vm, depot }

    @Option(
        help: """
            Whose sandboxes: local (this machine), vm (virtual machines on this machine; needs --builder-image) or \
            depot (DEPOT_API_URL, else Depot's own API).
            """)
    var sandbox: Kind?

    @Option(help: "Use the Sandbox API at this URL, such as http://builder:7777 or unix:/run/snapwf.sock.")
    var api: String?

    @Option(
        help: """
            The token for the API. Better in the environment (DEPOT_TOKEN for --sandbox depot, SNAPWF_TOKEN for --api): \
            an argument is seen by everybody on this machine.
            """)
    var token: String?

    @Option(help: "The organization that an organization-wide token acts for. Default: DEPOT_ORG_ID.")
    var org: String?

    func validate() throws {
        if api != nil, let sandbox, sandbox != .depot {
            throw ValidationError("--sandbox \(sandbox.rawValue) and --api exclude each other.")
        }
    }

    /// The place that the flags name; this machine when they name none.
    func place(_ variables: [String: String]) throws -> SandboxPlace {
        guard let url = api ?? (sandbox == .depot ? depotURL(variables) : nil) else {
            if token != nil || org != nil {
                throw SnapshotError(.usage, "--token and --org are for an API: name it with --sandbox depot or --api")
            }
            return sandbox == .vm ? .vm : .local
        }
        return .api(url: try normalized(url), organization: nonEmpty(org) ?? nonEmpty(variables["DEPOT_ORG_ID"]))
    }

    private func depotURL(_ variables: [String: String]) -> String {
        nonEmpty(variables["DEPOT_API_URL"]) ?? DepotProvider.Configuration.depotURL
    }

    /// Recorded in runs: without a password, and the same for the same address.
    private func normalized(_ url: String) throws -> String {
        let absolute = url.hasPrefix("unix:") ? "unix:" + Places.absolutePath(String(url.dropFirst(5))) : url
        do throws(ConnectError) {
            return try ServerAddress(absolute).description
        } catch {
            throw SnapshotError(.usage, error.message)
        }
    }
}
