import Connect
import HTTPTypes

/// Who may call.
struct Authentication: Sendable {
    /// `nil`: everybody who reaches the socket.
    let token: SecretToken?
    /// `nil`: whichever organisation a caller names, or none.
    let organization: String?

    func check(_ headers: HTTPFields) throws(ConnectError) {
        if let token {
            guard let header = headers[.authorization] else {
                throw ConnectError(.unauthenticated, "a token is required: Authorization: Bearer TOKEN")
            }
            let parts = header.split(separator: " ", maxSplits: 1)
            guard parts.count == 2, parts[0].lowercased() == "bearer", token.matches(parts[1]) else {
                throw ConnectError(.unauthenticated, "the token is not the one that this server was started with")
            }
        }
        if let organization, let name = HTTPField.Name("x-depot-org") {
            guard let named = headers[name] else {
                throw ConnectError(.permissionDenied, "the organisation has to be named in the header x-depot-org")
            }
            guard named == organization else {
                throw ConnectError(.permissionDenied, "this server works for another organisation than the one named")
            }
        }
    }
}
