import HelperInterface
import OCI
package import Sandbox

/// What can be found out before anything starts: whether the place is there, and whether it can do what a request asks.
package enum Preflight {
    /// Asks the provider.
    ///
    /// - Returns: what a person should know beforehand, such as where the snapshot will go.
    /// - Throws: `SnapshotError` that names the flag to change.
    package static func check(_ request: SnapshotRequest, in environment: SnapshotEnvironment) async throws -> [String]
    {
        let place = request.place ?? .local
        let provider = try await reach(place, in: environment)
        try await requireCapabilities(request, provider, environment)
        try requireReach(request, provider)
        if request.verifyBoot == true {
            try Platform.requireBootable(request.platform)
            try await BootCheck(environment: environment, runID: "").check()
        }
        guard place != .local else { return [] }
        switch request.register ?? .catalog {
        case .catalog: return ["sandbox at \(place); the snapshot will be brought into the catalog of this machine"]
        case .api: return ["sandbox at \(place); the API will keep the snapshot"]
        case .registry: return ["sandbox at \(place); the snapshot will be pushed to \(request.push ?? "nowhere")"]
        }
    }

    /// Asks a place elsewhere whether it answers, and answers us; this machine is looked at when a sandbox is made.
    ///
    /// - Throws: `SnapshotError` that says what to do next.
    @discardableResult
    package static func reach(
        _ place: SandboxPlace, in environment: SnapshotEnvironment
    ) async throws -> any SandboxProvider {
        do {
            let provider = try environment.at(place).provider
            if place != .local { try await provider.check() }
            return provider
        } catch {
            throw SnapshotError.translating(error)
        }
    }

    private static func requireCapabilities(
        _ request: SnapshotRequest, _ provider: any SandboxProvider, _ environment: SnapshotEnvironment
    ) async throws {
        let capabilities = provider.capabilities
        try requireTarget(request)
        if capabilities.bootsSnapshots {
            guard let builder = request.builderImage else {
                throw SnapshotError(
                    .usage,
                    "\(provider.name) sandboxes boot from a snapshot: make one of an image with a shell and certificates, "
                        + "and name it: snapwf run debian:12 --name builder, then --builder-image builder")
            }
            _ = try await environment.catalog.find(builder)
        } else if request.builderImage != nil, !capabilities.images {
            throw SnapshotError(
                .usage,
                "--builder-image: \(provider.name) sandboxes boot from no image; leave it out, or name a "
                    + "Sandbox API with --sandbox depot or --api")
        }
        if let longest = capabilities.maximumTimeToLive, .seconds(request.timeToLive) > longest {
            throw SnapshotError(
                .usage,
                "--ttl is longer than the \(longest.components.seconds / 3600) hours that "
                    + "\(provider.name) gives a sandbox")
        }
        if request.register == .api {
            guard capabilities.snapshots else {
                throw SnapshotError(
                    .usage,
                    "--register api: \(provider.name) takes no snapshots of sandboxes; leave it out, and the "
                        + "snapshot goes into the catalog of this machine")
            }
            guard request.exportPath == nil else {
                throw SnapshotError(
                    .usage, "--register api leaves the snapshot with the API, so there is no file for --output")
            }
            guard request.name == nil, request.labels?.isEmpty ?? true else {
                throw SnapshotError(
                    .usage, "--register api leaves the snapshot with the API; --name and --label are of the catalog")
            }
        }
    }

    /// What the flags say about where the snapshot goes must fit together. Asks nobody.
    ///
    /// - Throws: `SnapshotError` that names the flag to change.
    package static func requireTarget(_ request: SnapshotRequest) throws {
        guard request.register != .registry else {
            guard request.push != nil else {
                throw SnapshotError(.usage, "--register registry needs a place to push to: --push REFERENCE")
            }
            for (isAsked, flag) in [
                (request.exportPath != nil, "--output"), (request.verifyBoot == true, "--verify-boot"),
                (request.name != nil, "--name"), (request.labels?.isEmpty == false, "--label"),
            ] where isAsked {
                throw SnapshotError(
                    .usage, "\(flag) needs the snapshot on this machine: leave --register registry out")
            }
            return
        }
        guard request.register == .api else { return }
        if request.push != nil {
            throw SnapshotError(.usage, "--push and --register api exclude each other")
        }
        if request.verifyBoot == true {
            throw SnapshotError(.usage, "--verify-boot needs the snapshot on this machine: leave --register api out")
        }
    }

    /// What only this host has cannot be read by a sandbox elsewhere.
    private static func requireReach(_ request: SnapshotRequest, _ provider: any SandboxProvider) throws {
        guard !provider.capabilities.hostInputs else { return }
        switch try ImageReference(parsing: request.image).transport {
        case .registry: break
        case .layout, .archive, .standardInput:
            throw SnapshotError(
                .usage,
                "\(request.image) is on this machine, and the sandbox is not: push it to a registry that "
                    + "both can reach, or use --sandbox local")
        }
        if request.caFile != nil {
            throw SnapshotError(
                .usage,
                "--ca-file is on this machine, and the sandbox is not: use a registry whose certificate the "
                    + "sandbox trusts, or --sandbox local")
        }
    }
}
