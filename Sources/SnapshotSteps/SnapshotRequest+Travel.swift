import OCI

extension SnapshotRequest {
    /// What of the request is on the machine where it was made and nowhere else, so that no other machine can do it.
    ///
    /// - Returns: in words, with what to do instead; nil when every machine that reaches the same registries can.
    package func bond() throws -> String? {
        switch try ImageReference(parsing: image).transport {
        case .registry: break
        case .layout, .archive, .standardInput:
            return "\(image) is on this machine only: push it to a registry, or run it here with snapwf run"
        }
        if credentialsFile != nil {
            return "--creds-file is on this machine only: give the workers credentials of their own (docker login, or "
                + "DOCKER_CONFIG), and leave it out"
        }
        if caFile != nil {
            return "--ca-file is on this machine only: have the workers trust the certificate, and leave it out"
        }
        if exportPath != nil {
            return "--output would be written wherever the run is executed: leave it out, and export the snapshot later"
        }
        if case .api(let url, _)? = place, url.hasPrefix("unix:") {
            return "the API at \(url) is on this machine only: name one that workers reach, as --api http://HOST:PORT"
        }
        return nil
    }
}
