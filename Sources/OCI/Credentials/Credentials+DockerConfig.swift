internal import FoundationEssentials

extension Credentials {
    /// The bytes of a docker `config.json` that holds these credentials for one registry and nothing else.
    ///
    /// For handing a secret to another process as a file that only it can read.
    package func dockerConfig(forRegistry host: String) throws -> [UInt8] {
        let entry: [String: String] =
            switch kind {
            case .basic(let username, let password):
                ["auth": Data("\(username):\(password)".utf8).base64EncodedString()]
            case .identityToken(let token): ["identitytoken": token]
            case .registryToken(let token): ["registrytoken": token]
            }
        return Array(try JSONEncoder().encode(["auths": [host: entry]]))
    }
}

/// Credentials that were read once, for a process whose file of secrets is gone by now.
package struct FixedCredentials: CredentialStore {
    private let host: String
    private let credentials: Credentials?

    /// - Parameter host: the only registry that gets them.
    package init(_ credentials: Credentials?, forRegistry host: String) {
        self.host = host
        self.credentials = credentials
    }

    package func credentials(forRegistry host: String) async throws(OCIError) -> Credentials? {
        host == self.host ? credentials : nil
    }
}
