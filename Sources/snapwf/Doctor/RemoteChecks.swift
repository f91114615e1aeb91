import Files
import FoundationEssentials
import HelperInterface
import Logging
import OCI
import Sandbox
import SnapshotSteps

/// What answers over a network: an image's registry and the Sandbox API.
enum RemoteChecks {
    /// Resolves the image as a run does: with its credentials, down to the manifest of this host's platform.
    static func registry(_ image: ImageReference, through sources: ImageSources) async -> [Finding] {
        let finding: Finding
        do {
            let resolved = try await sources.source(for: image).resolve(image, platform: .host)
            finding = .ok("image", "\(image) is \(resolved.manifestDigest) for \(resolved.platform)")
        } catch {
            finding = registry(image, error)
        }
        await sources.shutdown()
        return [finding]
    }

    static func registry(_ image: ImageReference, _ error: OCIError) -> Finding {
        let host = image.registryHost
        let next: String
        switch error.code {
        case .unauthorized, .denied:
            next =
                "docker login \(host ?? "") (or name a file of credentials: snapwf doctor --creds-file FILE \(image))"
        case .unreachable, .timedOut, .tooManyRequests, .serverError, .invalidResponse:
            next = host.map { "curl -sSI \(scheme($0))://\($0)/v2/" } ?? "snapwf doctor \(image)"
        case .noMatchingPlatform:
            return .warn("image", error.message, next: "snapwf run --platform linux/amd64 \(image)")
        default:
            next = "check the name, and try again: snapwf doctor \(image)"
        }
        return .fail("image", error.message, next: next)
    }

    /// Registries on this machine are spoken to without TLS, unless a flag says otherwise.
    private static func scheme(_ host: String) -> String {
        ["127.", "localhost", "[::1]"].contains { host.hasPrefix($0) } ? "http" : "https"
    }

    /// Asks the API for one sandbox, which proves the address, the token and the organization.
    ///
    /// - Parameter isNamed: by a flag; else by the environment, and local runs do without it.
    static func api(
        url: String, organization: String?, token: String?, isNamed: Bool, again: String, variables: [String: String]
    ) async -> [Finding] {
        let remote = RemoteProviders(variables: variables, points: nil)
        remote.name(.api(url: url, organization: organization), token: token)
        let finding: Finding
        do {
            try await remote.provider(url: url, organization: organization).check()
            finding = .ok("Sandbox API", "\(url) answers and takes the token")
        } catch {
            finding = api(url, error, isNamed: isNamed, again: again)
        }
        await remote.shutdown()
        return [finding]
    }

    static func api(_ url: String, _ error: any Error, isNamed: Bool, again: String) -> Finding {
        let next: String
        if let error = error as? SandboxError, error.code == .credentials {
            next = "set a token that the API takes, and try again: \(again)"
        } else if url.hasPrefix("unix:") {
            next = "ls -l \(url.dropFirst(5))"
        } else {
            next = "curl -sSI \(url)"
        }
        return isNamed
            ? .fail("Sandbox API", "\(error)", next: next)
            : .warn("Sandbox API", "\(error); local runs do without it", next: next)
    }
}
