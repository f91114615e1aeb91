import ArgumentParser
import SnapshotSteps

/// The name of a queue on a command line.
struct QueueName: ExpressibleByArgument, Hashable, CustomStringConvertible {
    let description: String

    init?(argument: String) {
        // Workers take batches without being told to.
        guard (1...200).contains(argument.utf8.count), argument != BatchWorkflow.queue,
            argument.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F })
        else { return nil }
        description = argument
    }

    /// The queue of a provider, so that limits are each provider's own: `local`, `vm`, `depot`, or `api:` with the address
    /// of another one.
    init(of place: SandboxPlace, _ variables: [String: String]) {
        switch place {
        case .local, .vm: description = place.description
        case .api(let url, _):
            if RemoteProviders.isDepot(url, variables) {
                description = "depot"
            } else {
                let address = url.firstRange(of: "://").map { String(url[$0.upperBound...]) } ?? url
                description = "api:" + String(decoding: address.utf8.prefix(180), as: UTF8.self)
            }
        }
    }
}
