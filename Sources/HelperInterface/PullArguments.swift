/// The command line of `snapshot pull`, as the workflow builds it.
package struct PullArguments: Sendable {
    package var reference: String
    package var output: String
    package var platform: String
    package var size: UInt64?
    /// A file in the form of docker's `config.json`; the helper reads it and removes it.
    package var credentialsFile: String?
    package var plainHTTPHosts: [String]
    package var caFile: String?
    /// Whether a dm-verity hash tree is appended.
    package var verity = false

    /// The largest size in bytes that can be asked for: as many blocks as the descriptors behind a superblock have
    /// room for (8184 GiB).
    package static let largestSize: UInt64 = 8184 << 30

    package init(
        reference: String, output: String, platform: String, size: UInt64?, credentialsFile: String? = nil,
        plainHTTPHosts: [String] = [], caFile: String? = nil
    ) {
        self.reference = reference
        self.output = output
        self.platform = platform
        self.size = size
        self.credentialsFile = credentialsFile
        self.plainHTTPHosts = plainHTTPHosts
        self.caFile = caFile
    }

    /// The arguments behind the program's name. No secret is among them.
    package var argv: [String] {
        var argv = ["pull", "--output", output, "--platform", platform, "--progress", "json"]
        if let size { argv += ["--size", "\(size)"] }
        if verity { argv.append("--verity") }
        if let credentialsFile { argv += ["--creds-file", credentialsFile, "--remove-creds-file"] }
        for host in plainHTTPHosts { argv += ["--plain-http", host] }
        if let caFile { argv += ["--ca-file", caFile] }
        return argv + ["--", reference]
    }
}
