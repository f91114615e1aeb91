/// What proves to a registry who asks. Prints as a placeholder, never as the secret.
package struct Credentials: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable
{
    package enum Kind: Sendable, Hashable {
        case basic(username: String, password: String)
        /// An OAuth 2 refresh token, as `docker login` keeps it for some registries.
        case identityToken(String)
        /// A bearer token that is sent as it is.
        case registryToken(String)
    }

    package let kind: Kind

    package init(_ kind: Kind) { self.kind = kind }

    package init(username: String, password: String) {
        self.init(.basic(username: username, password: password))
    }

    package var description: String {
        switch kind {
        case .basic(let username, _): "credentials of \(printable(username, limit: 80)) (password not shown)"
        case .identityToken: "identity token (not shown)"
        case .registryToken: "registry token (not shown)"
        }
    }

    package var debugDescription: String { description }
    package var customMirror: Mirror { Mirror(self, children: []) }
}

/// Where credentials are looked up, each time they are needed: secrets are read when used and kept nowhere else.
package protocol CredentialStore: Sendable {
    /// The credentials for a registry's host (with its port, `docker.io` for Docker Hub); nil means: ask anonymously.
    func credentials(forRegistry host: String) async throws(OCIError) -> Credentials?
}

/// No credentials for anybody.
package struct NoCredentials: CredentialStore {
    package init() {}
    package func credentials(forRegistry host: String) async throws(OCIError) -> Credentials? { nil }
}

extension CredentialStore where Self == NoCredentials {
    package static var none: NoCredentials { NoCredentials() }
}
