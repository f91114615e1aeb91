internal import Files
internal import FoundationEssentials
internal import Glibc

/// The credentials that `docker login` keeps in `config.json`, and files of the same form.
///
/// The file is read anew for every question, so that a login in between counts.
package struct DockerConfigCredentials: CredentialStore {
    private static let sizeLimit = 1 << 20

    private let path: String
    private let mustExist: Bool
    private let environment: [String: String]

    /// - Parameter mustExist: whether a missing file is an error; else it means no credentials.
    init(path: String, mustExist: Bool, environment: [String: String]) {
        self.path = path
        self.mustExist = mustExist
        self.environment = environment
    }

    package func credentials(forRegistry host: String) async throws(OCIError) -> Credentials? {
        let bytes = try await onOwnThread { () throws(OCIError) -> [UInt8]? in try read() }
        guard let bytes else { return nil }
        let config: DockerConfig
        do {
            config = try JSONDecoder().decode(DockerConfig.self, from: Data(bytes))
        } catch {
            // The decoder's words could repeat a secret.
            throw OCIError(
                .invalidConfiguration,
                "\(printable(path)) is no docker configuration: it must be JSON, as {\"auths\": {\"host\": {\"auth\": \"…\"}}}"
            )
        }
        if let helper = config.helper(for: host) {
            let helper = CredentialHelper(name: helper, environment: environment)
            for key in DockerConfig.keys(for: host) {
                if let found = try await helper.credentials(forKey: key) { return found }
            }
        }
        return try config.credentials(for: host, path: path)
    }

    private func read() throws(OCIError) -> [UInt8]? {
        let descriptor = retryingInterrupts { open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) }
        guard descriptor >= 0 else {
            let code = errno
            if !mustExist, code == ENOENT || code == ENOTDIR { return nil }
            throw OCIError(
                .invalidConfiguration,
                "the credentials file \(printable(path)) cannot be read: \(describe(errno: code))")
        }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = piece.withUnsafeMutableBytes { buffer in
                retryingInterrupts { Glibc.read(descriptor, buffer.baseAddress, buffer.count) }
            }
            guard count >= 0 else {
                throw OCIError(
                    .invalidConfiguration,
                    "the credentials file \(printable(path)) cannot be read: \(describe(errno: errno))")
            }
            if count == 0 { return bytes }
            bytes += piece[..<count]
            guard bytes.count <= Self.sizeLimit else {
                throw OCIError(
                    .invalidConfiguration,
                    "the credentials file \(printable(path)) has more than \(Self.sizeLimit) bytes: it is not read")
            }
        }
    }
}

extension CredentialStore where Self == DockerConfigCredentials {
    /// What `docker login` stored: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`; no file, no credentials.
    package static func dockerConfig(environment: [String: String]) -> DockerConfigCredentials {
        let directory =
            environment["DOCKER_CONFIG"].flatMap { $0.isEmpty ? nil : $0 }
            ?? "\(environment["HOME"] ?? "")/.docker"
        return DockerConfigCredentials(path: "\(directory)/config.json", mustExist: false, environment: environment)
    }

    /// A file of the same form; it must exist.
    package static func file(_ path: String) -> DockerConfigCredentials {
        DockerConfigCredentials(path: path, mustExist: true, environment: [:])
    }
}

/// The parts of docker's `config.json` about credentials.
struct DockerConfig: Decodable {
    struct Entry: Decodable {
        var auth: String?
        var username: String?
        var password: String?
        var identitytoken: String?
        var registrytoken: String?
    }

    var auths: [String: Entry]?
    var credHelpers: [String: String]?
    var credsStore: String?

    /// The names under which a registry's credentials are kept: Docker Hub has an address from long ago.
    static func keys(for host: String) -> [String] {
        host == "docker.io"
            ? ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "registry-1.docker.io"] : [host]
    }

    /// The credential helper for a host: its own, else the one for all.
    func helper(for host: String) -> String? {
        for key in Self.keys(for: host) {
            if let helper = credHelpers?[key], !helper.isEmpty { return helper }
        }
        return credsStore.flatMap { $0.isEmpty ? nil : $0 }
    }

    func credentials(for host: String, path: String) throws(OCIError) -> Credentials? {
        guard let auths else { return nil }
        let keys = Self.keys(for: host)
        let entry =
            keys.lazy.compactMap { auths[$0] }.first
            ?? auths.sorted { $0.key < $1.key }.first { keys.contains(Self.plainHost($0.key) ?? "") }?.value
        guard let entry else { return nil }
        if let token = entry.registrytoken, !token.isEmpty { return Credentials(.registryToken(token)) }
        if let token = entry.identitytoken, !token.isEmpty { return Credentials(.identityToken(token)) }
        if let auth = entry.auth, !auth.isEmpty {
            guard let text = Data(base64Encoded: auth).flatMap({ String(data: $0, encoding: .utf8) }),
                let colon = text.firstIndex(of: ":")
            else {
                throw OCIError(
                    .invalidConfiguration,
                    "the entry for \(printable(host)) in \(printable(path)) is broken: "
                        + "\"auth\" must be base64 of user:password")
            }
            return Credentials(username: String(text[..<colon]), password: String(text[text.index(after: colon)...]))
        }
        if let username = entry.username, let password = entry.password {
            return Credentials(username: username, password: password)
        }
        // Docker leaves an empty entry behind when the secret itself is with a helper.
        return nil
    }

    /// `https://host/v1/` and the like, as old clients wrote keys; nil for a key that names a path in a registry.
    private static func plainHost(_ key: String) -> String? {
        var rest = key[...]
        for scheme in ["https://", "http://"] where rest.hasPrefix(scheme) { rest = rest.dropFirst(scheme.count) }
        let host = rest.prefix { $0 != "/" }
        return ["", "/", "/v1", "/v1/", "/v2", "/v2/"].contains(String(rest.dropFirst(host.count))) ? String(host) : nil
    }
}
