import ArgumentParser
import FoundationEssentials
import Sandbox
import SnapshotSteps

/// Where sandboxes come from, on the command line and in the environment.
struct PlaceOptions: ParsableArguments {
    enum Kind: String, ExpressibleByArgument, CaseIterable { case local, depot }

    @Option(help: "Whose sandboxes: local (this machine) or depot (DEPOT_API_URL, else Depot's own API).")
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
        if api != nil, sandbox == .local { throw ValidationError("--sandbox local and --api exclude each other.") }
    }

    /// The place that the flags name; this machine when they name none.
    func place(_ variables: [String: String]) throws -> SandboxPlace {
        guard let url = api ?? (sandbox == .depot ? depotURL(variables) : nil) else {
            if token != nil || org != nil {
                throw SnapshotError(.usage, "--token and --org are for an API: name it with --sandbox depot or --api")
            }
            return .local
        }
        let place = SandboxPlace.api(
            url: try normalized(url), organization: nonEmpty(org) ?? nonEmpty(variables["DEPOT_ORG_ID"]))
        return place
    }

    private func depotURL(_ variables: [String: String]) -> String {
        nonEmpty(variables["DEPOT_API_URL"]) ?? DepotProvider.Configuration.depotURL
    }

    /// Recorded in runs, so without a password, and the same for the same address.
    private func normalized(_ url: String) throws -> String {
        let lower = url.lowercased()
        let host = url.drop { $0 != "/" }.dropFirst(2).prefix { $0 != "/" }
        guard lower.hasPrefix("http://") || lower.hasPrefix("https://") || lower.hasPrefix("unix:"),
            lower.hasPrefix("unix:") || !host.isEmpty
        else {
            throw SnapshotError(
                .usage, "\(url) is no address of an API: write https://HOST[:PORT], http://HOST:PORT or unix:PATH")
        }
        guard !host.contains("@") else {
            throw SnapshotError(
                .usage, "the address of the API holds a password, which would be recorded: give --token or SNAPWF_TOKEN"
            )
        }
        if lower.hasPrefix("unix:") {
            let path = url.dropFirst(5).drop { $0 == "/" && url.dropFirst(6).hasPrefix("/") }
            return path.hasPrefix("/") ? "unix:\(path)" : "unix:\(FileManager.default.currentDirectoryPath)/\(path)"
        }
        return String(url.reversed().drop { $0 == "/" }.reversed())
    }
}

func nonEmpty(_ text: String?) -> String? { text.flatMap { $0.isEmpty ? nil : $0 } }
