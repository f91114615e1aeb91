/// A program `docker-credential-NAME` that keeps secrets for docker.
struct CredentialHelper: Sendable {
    let name: String
    let environment: [String: String]

    func credentials(forKey key: String) async throws(OCIError) -> Credentials? {
        throw OCIError(
            .invalidConfiguration,
            "the credentials for \(printable(key)) are with the credential helper \(excerpt(name, limit: 60)), "
                + "which is not supported: put them into a credentials file {\"auths\": {\"host\": {\"auth\": \"…\"}}}")
    }
}
