/// The command line of `snapshot push`, as the workflow builds it.
package struct PushArguments: Sendable {
    /// The image, with the document of `snapshot pull` beside it.
    package var file: String
    /// Where to: a registry's reference. A digest in it is not allowed; without a tag it is `latest`.
    package var reference: String
    /// That document, where it is not `<file>.json`.
    package var result: String?
    /// What a push that was killed goes on from; nil for a file beside the image.
    package var state: String?
    /// A file in the form of docker's `config.json`; the helper reads it and removes it.
    package var credentialsFile: String?
    package var plainHTTPHosts: [String]
    package var caFile: String?

    package init(
        file: String, reference: String, result: String? = nil, state: String? = nil, credentialsFile: String? = nil,
        plainHTTPHosts: [String] = [], caFile: String? = nil
    ) {
        self.file = file
        self.reference = reference
        self.result = result
        self.state = state
        self.credentialsFile = credentialsFile
        self.plainHTTPHosts = plainHTTPHosts
        self.caFile = caFile
    }

    /// The arguments behind the program's name. No secret is among them.
    package var argv: [String] {
        var argv = ["push", "--progress", "json"]
        if let result { argv += ["--result", result] }
        if let state { argv += ["--state", state] }
        if let credentialsFile { argv += ["--creds-file", credentialsFile, "--remove-creds-file"] }
        for host in plainHTTPHosts { argv += ["--plain-http", host] }
        if let caFile { argv += ["--ca-file", caFile] }
        return argv + ["--", file, reference]
    }
}

/// What `snapshot push` did.
package struct PushResult: Codable, Sendable, Equatable {
    package var schema = 1
    /// `host/repository:tag@digest` of the index: whoever pulls it gets these bytes, whatever the tag moves to.
    package var reference: String
    /// Of the index, as `sha256:<hex>`.
    package var digest: String
    /// Of the manifest for this platform, which the index names.
    package var manifestDigest: String
    /// Bytes of blobs that were sent, those sent twice included.
    package var bytesSent: UInt64
    /// Bytes of all chunks as the registry holds them.
    package var bytes: UInt64
    /// Chunks of the image that hold data.
    package var chunks: Int
    /// Of these, how many the registry had.
    package var skipped: Int

    package init(
        reference: String, digest: String, manifestDigest: String, bytesSent: UInt64, bytes: UInt64, chunks: Int,
        skipped: Int
    ) {
        self.reference = reference
        self.digest = digest
        self.manifestDigest = manifestDigest
        self.bytesSent = bytesSent
        self.bytes = bytes
        self.chunks = chunks
        self.skipped = skipped
    }
}
